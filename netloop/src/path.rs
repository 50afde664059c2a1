//! What is known of a session's path, told on request: at its begin, with each look at its health, and at its end.
//!
//! A report is a copy of counters that QUIC keeps anyway. Nobody pays for reports that nobody asked for, and a full queue loses
//! the newest, which is counted.

use std::{collections::VecDeque, net::SocketAddr};

use crate::{
    CloseReason, EarlyData, Engine, Health, Now, SessionId,
    session::{Phase, Session},
};

/// Where in its life a session is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStep {
    /// Its handshake is done.
    Opened,
    /// It was looked at, every few seconds.
    Alive,
    /// It is over.
    Closed(CloseReason),
}

/// A session's path as it stands, counted since its begin.
#[derive(Debug, Clone, Copy)]
pub struct PathReport {
    /// When, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Which session.
    pub session: SessionId,
    /// Where in its life.
    pub step: PathStep,
    /// Where its peer is now: it may have moved.
    pub remote: SocketAddr,
    /// How its peer is doing.
    pub health: Health,
    /// What became of its early data, for a client.
    pub early: EarlyData,
    /// Round trip, smoothed, and the least, in microseconds.
    pub rtt_us: [u64; 2],
    /// Congestion window, in bytes.
    pub window_bytes: u64,
    /// Signs of congestion.
    pub congestion_events: u64,
    /// Largest UDP payload that the path is known to carry, in bytes.
    pub mtu_bytes: u16,
    /// Packets sent, and of those lost.
    pub packets: [u64; 2],
    /// UDP datagrams received and sent.
    pub datagrams: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// DATAGRAM frames received and sent.
    pub datagram_frames: [u64; 2],
    /// STREAM frames received and sent.
    pub stream_frames: [u64; 2],
    /// ACK frames received and sent.
    pub ack_frames: [u64; 2],
    /// Streams of the peer that are open.
    pub streams: u32,
}

/// Reports that wait for their reader.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    waiting: VecDeque<PathReport>,
}

/// Reports that may wait: a thousand sessions that come back at once.
const WAITING_MAX: usize = 4096;

impl Session {
    pub(crate) fn path_report(&self, now: Now, step: PathStep) -> PathReport {
        let stats = self.connection.stats();
        let (path, rx, tx) = (&stats.path, &stats.frame_rx, &stats.frame_tx);
        PathReport {
            unix_ns: now.unix_ns,
            session: self.id,
            step,
            remote: self.remote(),
            health: self.peer.health,
            early: self.early,
            rtt_us: [path.rtt, path.min_rtt].map(|rtt| rtt.as_micros() as u64),
            window_bytes: path.cwnd,
            congestion_events: path.congestion_events,
            mtu_bytes: path.current_mtu,
            packets: [path.sent_packets, path.lost_packets],
            datagrams: [stats.udp_rx.datagrams, stats.udp_tx.datagrams],
            bytes: [stats.udp_rx.bytes, stats.udp_tx.bytes],
            datagram_frames: [rx.datagram, tx.datagram],
            stream_frames: [rx.stream, tx.stream],
            ack_frames: [rx.acks, tx.acks],
            streams: self.streams_held,
        }
    }
}

impl Engine {
    /// Reports paths from now on; [`Engine::poll_report`] gives them.
    pub fn report_paths(&mut self) {
        self.reports = Some(Reports::default());
    }

    /// The next report.
    pub fn poll_report(&mut self) -> Option<PathReport> {
        self.reports.as_mut()?.waiting.pop_front()
    }

    /// The path of a session as it stands; `None` when it is gone.
    pub fn path(&mut self, now: Now, session: SessionId) -> Option<PathReport> {
        let open = self.session(session).filter(|open| open.phase != Phase::Closed)?;
        Some(open.path_report(now, PathStep::Alive))
    }

    /// Reports a session, if reports were asked for.
    pub(crate) fn report_path(&mut self, now: Now, place: u32, step: PathStep) {
        let Some(reports) = &mut self.reports else { return };
        let Some(session) = self.sessions.get(place as usize).and_then(Option::as_ref) else {
            return;
        };
        if reports.waiting.len() < WAITING_MAX {
            reports.waiting.push_back(session.path_report(now, step));
        } else {
            self.tally.reports_lost += 1;
        }
    }
}
