//! Bytes as a sequence of operations on two engines in virtual time, with what must hold at every step.
//!
//! The fuzzer finds such bytes and the tests replay them. Nothing that a peer, the network or the time between may do
//! ends in a panic, in a session that never ends, or in a count that does not add up.
#![allow(unreachable_pub, reason = "the tests and the fuzzer share it")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use netloop::{Datagram, Phase, SendStream, SessionId, SessionLimits, StreamPriority};
use wire::{CloseCode, Command, Operation};

use crate::link::{Pair, Weather, numbered};

/// Takes bytes one after the other; nothing is left after the last.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// So many bytes as the next one says, or what is left.
    fn bytes(&mut self) -> Vec<u8> {
        let length = self.byte().map_or(0, usize::from).min(self.0.len());
        let (front, rest) = self.0.split_at(length);
        self.0 = rest;
        front.to_vec()
    }
}

/// Two engines, and what the client has open.
struct Stage {
    pair: Pair,
    sessions: Vec<SessionId>,
    streams: Vec<(SessionId, SendStream)>,
    tag: u32,
}

/// More sessions than this would only make a run slow.
const SESSIONS_MAX: usize = 6;

/// Runs the operations that `bytes` spell.
pub fn run(bytes: &[u8]) {
    let mut script = Script(bytes);
    let weather = script.byte().unwrap_or_default();
    let weather = Weather {
        loss: f64::from(weather & 3) / 20.0,
        duplicate: f64::from(weather >> 2 & 3) / 20.0,
        reorder: f64::from(weather >> 4 & 3) / 20.0,
        ..Weather::CALM
    };
    let small = SessionLimits {
        uni_streams_max: 12,
        bi_streams_max: 20,
        stream_window_bytes: 4096,
        streams_max: 40,
        ..SessionLimits::default()
    };
    let pair = Pair::with_limits(1, weather, small, SessionLimits::default());
    let mut stage = Stage { pair, sessions: Vec::new(), streams: Vec::new(), tag: 0 };
    stage.call();
    while let Some(operation) = script.byte() {
        stage.operate(operation, &mut script);
        stage.check();
    }
    stage.end();
}

impl Stage {
    fn call(&mut self) {
        let address = self.pair.server.address;
        if self.sessions.len() < SESSIONS_MAX
            && let Ok(session) =
                self.pair.client.engine.connect(self.pair.now, address, "localhost")
        {
            self.sessions.push(session);
        }
    }

    fn session(&self, script: &mut Script<'_>) -> SessionId {
        let number = script.byte().map_or(0, usize::from);
        self.sessions[number % self.sessions.len()]
    }

    fn operate(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 16 {
            0 => self.call(),
            1 => drop(self.pair.step()),
            2 => {
                let ms = script.byte().map_or(0, u64::from);
                self.pair.run_for(Duration::from_millis(ms));
            }
            // Up to a minute: idle timeouts, probes, retransmissions.
            3 => {
                let s = script.byte().map_or(0, u64::from) % 60;
                self.pair.run_for(Duration::from_secs(s));
            }
            4 => {
                let (session, payload) = (self.session(script), script.bytes());
                let _ = self.pair.client.engine.send_datagram(session, Bytes::from(payload));
            }
            5 => {
                let session = self.session(script);
                let whole: Vec<u8> = numbered(self.tag).as_bytes().repeat(3);
                let _ = self.pair.client.engine.send_datagram(session, Bytes::from(whole));
            }
            6 => {
                let session = self.session(script);
                let opened = self.pair.client.engine.open_stream(session, StreamPriority::Normal);
                self.streams.extend(opened.ok().map(|stream| (session, stream)));
            }
            7 => self.write(script),
            8 => {
                if let Some((session, stream)) = self.streams.pop() {
                    self.pair.client.engine.finish_stream(session, stream);
                }
            }
            9 => self.ask(script),
            10 => self.inject(script, true),
            11 => self.inject(script, false),
            12 => self.pair.stalled = !self.pair.stalled,
            13 => self.close(script),
            14 => {
                let room = script.byte().map_or(0, usize::from);
                self.pair.server.sink.room_t2 = room;
                self.pair.server.sink.room_t1 = room;
                self.pair.server.sink.room_t3 = room;
            }
            _ => self.pair.weather.loss = f64::from(script.byte().unwrap_or_default()) / 512.0,
        }
    }

    /// Any bytes on a stream: cut records, bad records, hellos of another kind.
    fn write(&mut self, script: &mut Script<'_>) {
        let bytes = script.bytes();
        let Some((session, stream)) = self.streams.last() else { return };
        let _ = self.pair.client.engine.write_stream(*session, *stream, &bytes);
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        self.tag += 1;
        let mut request = Command::request(numbered(self.tag), Operation::Read);
        if let Some(kind) = script.byte().filter(|kind| kind % 4 == 0) {
            request = request.with_kind(kind);
        }
        let _ = self.pair.client.engine.open_command(session, request, self.tag);
    }

    /// Any bytes as a datagram, also with a header that nearly fits.
    fn inject(&mut self, script: &mut Script<'_>, to_server: bool) {
        let mut payload = script.bytes();
        if payload.first().is_some_and(|first| first & 0x80 != 0) {
            // Long headers shorter than this are not looked at.
            payload.resize(1200.max(payload.len()), 0);
        }
        let (now, recv_ns) = (self.pair.now, self.pair.now.unix_ns);
        let (end, remote) = if to_server {
            (&mut self.pair.server, self.pair.client.address)
        } else {
            (&mut self.pair.client, self.pair.server.address)
        };
        let payload = BytesMut::from(&payload[..]);
        let datagram = Datagram { remote, local_ip: None, ecn: None, payload, recv_ns };
        end.engine.handle_datagram(now, datagram);
    }

    fn close(&mut self, script: &mut Script<'_>) {
        let by_server = script.byte().is_some_and(|byte| byte % 2 == 0);
        let now = self.pair.now;
        if by_server {
            let first = self.pair.server.engine.ids().next();
            if let Some(session) = first {
                self.pair.server.engine.close(now, session, CloseCode::Busy);
            }
        } else {
            let session = self.session(script);
            self.pair.client.engine.close(now, session, CloseCode::Done);
        }
    }

    fn check(&self) {
        for end in [&self.pair.server, &self.pair.client] {
            let tally = end.engine.tally();
            let judged: u64 = tally.health.iter().sum();
            assert_eq!(judged, end.engine.open_sessions(), "each open session has one health");
        }
        let server = &self.pair.server;
        let [t1, t2, _] = server.engine.tally().tiers;
        let taken = [server.sink.t1.len(), server.sink.t2.len()];
        assert_eq!(t1.received, taken[0] as u64 + t1.rejected + t1.shed, "T1 adds up");
        assert_eq!(t2.received, taken[1] as u64 + t2.rejected + t2.shed, "T2 adds up");
    }

    /// Once nobody goes on, everything ends.
    fn end(&mut self) {
        self.pair.stalled = false;
        self.pair.weather = Weather::CALM;
        self.pair.server.sink.room_t2 = 1 << 20;
        self.pair.server.sink.room_t3 = 1 << 20;
        self.pair.run_for(Duration::from_secs(1));
        let now = self.pair.now;
        self.pair.client.engine.close_all(now, CloseCode::Shutdown);
        self.pair.server.engine.close_all(now, CloseCode::Shutdown);
        self.pair.run_for(Duration::from_secs(90));
        self.check();
        for end in [&self.pair.server, &self.pair.client] {
            assert_eq!(end.engine.open_sessions(), 0);
        }
        let gone = |session: &SessionId| {
            matches!(self.pair.client.engine.phase(*session), None | Some(Phase::Closed))
        };
        assert!(self.sessions.iter().all(gone), "no session stays behind");
    }
}
