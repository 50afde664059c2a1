//! What one session may cost: streams, windows, buffers and timers, for either role.
//!
//! Every limit is finite. QUIC's own defaults let a hostile peer hold hundreds of megabytes; these let it hold
//! `receive_window_bytes` and `datagram_buffer_bytes`, both set here.

use std::{sync::Arc, time::Duration};

use quinn_proto::{
    AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
    congestion::ControllerFactory,
};

use crate::Congestion;

/// What all handshakes together may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Handshakes under way at the same time; further ones wait.
    pub at_once_max: usize,
    /// From so many handshakes under way or waiting, an address has to prove that it is there: its first packet is
    /// answered with a Retry, and nothing of it is kept. 0 asks always.
    pub retry_from: usize,
    /// Handshakes begun in a second; further ones wait. 0 is no limit.
    pub per_s: u32,
    /// Handshakes begun in one turn of the worker, and as many that go on. Each costs a signature, a key exchange or the
    /// verification of a certificate, which established sessions wait for.
    pub turn_max: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { at_once_max: 1024, retry_from: 32, per_s: 2000, turn_max: 1 }
    }
}

/// What one address may hold and send, in all its sessions. A gateway is one address for all that is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLimits {
    /// Sessions at the same time; one more is refused.
    pub sessions_max: usize,
    /// Handshakes at the same time; one more is refused.
    pub handshakes_max: usize,
    /// Streams of the address that may be open; one more is stopped.
    pub streams_max: usize,
    /// UDP datagrams a second; further ones are ignored, which QUIC takes for loss. 0 is no limit.
    pub datagrams_per_s: u64,
    /// Bytes of UDP payload a second; further datagrams are ignored. 0 is no limit.
    pub bytes_per_s: u64,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            sessions_max: 16_384,
            handshakes_max: 256,
            streams_max: 16_384,
            datagrams_per_s: 0,
            bytes_per_s: 0,
        }
    }
}

/// Packets that a device lets its peer take before one acknowledgement; more would slow the growth of the congestion window.
const ACK_EVERY: u32 = 32;

/// Limits and timers of sessions. The defaults suit a plant of thousands of devices.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionLimits {
    /// Sessions at the same time; one more handshake is refused.
    pub sessions_max: usize,
    /// What all handshakes together may cost.
    pub handshakes: HandshakeLimits,
    /// What one address may hold and send.
    pub address: AddressLimits,
    /// Streams that all peers together may hold open; one more is stopped.
    pub streams_max: usize,
    /// A session that is silent for so long is closed.
    pub idle_timeout: Duration,
    /// How long a handshake may take, of a call of this side or of a peer. Losses can take the timers of QUIC, which double,
    /// to many seconds (RFC 9002, section 6.2); then it is better to call again. And a peer that never finishes its handshake
    /// would hold its place for as long as it says anything at all.
    pub handshake_timeout: Duration,
    /// A session that has nothing to say sends a ping so often, to stay known on the way.
    pub keep_alive: Option<Duration>,
    /// Unidirectional streams (T2 and control) that the peer may hold open. A server allows a few until the first of
    /// them is used for T2, because QUIC keeps memory for each that it allows, and most sessions never need it.
    pub uni_streams_max: u32,
    /// Bidirectional streams (T3) that the peer may hold open; a few until the first one.
    pub bi_streams_max: u32,
    /// Bytes of one stream that may wait unread.
    pub stream_window_bytes: u32,
    /// Bytes of all streams of a session that may wait unread.
    pub receive_window_bytes: u32,
    /// Bytes sent and not yet acknowledged that a session may hold.
    pub send_window_bytes: u32,
    /// Bytes in flight that single losses never forbid a session, so that T1 does not wait on a link that loses; signs of
    /// true congestion do. The default holds two full-size datagrams a millisecond over a round trip of 20 ms and an
    /// acknowledgement that is held back for 25 ms. 0 is no
    /// floor; BBR has none.
    pub congestion_floor_bytes: u64,
    /// What decides how much may be in flight.
    pub congestion: Congestion,
    /// Datagrams in flight before anything is known of the path. RFC 9002, section 7.2, recommends ten; the default is the
    /// flight of a device that sends 20,000 records a second over a round trip of 50 ms, which would else be late until the
    /// window has grown.
    pub initial_flight_datagrams: u16,
    /// Keys of a session are replaced so often (RFC 9001, section 6); by QUIC's own limits only when there is no period.
    pub key_update: Option<Duration>,
    /// Received DATAGRAM bytes that may wait inside QUIC. It overflows in silence there, so the engine drains long before
    /// this is reached.
    pub datagram_buffer_bytes: usize,
    /// DATAGRAM bytes that may wait inside QUIC to be sent. QUIC sends them before streams: so much T1 may be in front of a
    /// command.
    pub datagram_send_bytes: usize,
    /// Largest UDP payload to search the path for, in bytes; a session begins with 1,200.
    pub mtu_bytes: u16,
    /// Sensors whose rows a session remembers; the records of further ones are looked up by their key.
    pub keys_max: usize,
    /// Ask the peer to acknowledge only every so many packets. `None` leaves it to the peer.
    pub ack_every: Option<u32>,
    /// Longest that the peer may hold back an acknowledgement when [`Self::ack_every`] is set.
    pub ack_delay: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: 1024,
            handshakes: HandshakeLimits::default(),
            address: AddressLimits::default(),
            streams_max: 65_536,
            idle_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            keep_alive: Some(Duration::from_secs(3)),
            uni_streams_max: 16,
            bi_streams_max: 64,
            stream_window_bytes: 256 << 10,
            receive_window_bytes: 1 << 20,
            send_window_bytes: 1 << 20,
            congestion_floor_bytes: 128 << 10,
            congestion: Congestion::default(),
            initial_flight_datagrams: 32,
            key_update: Some(Duration::from_secs(3600)),
            datagram_buffer_bytes: 512 << 10,
            datagram_send_bytes: 64 << 10,
            mtu_bytes: 1452,
            keys_max: 65_536,
            ack_every: None,
            ack_delay: Duration::from_millis(25),
        }
    }
}

/// The smallest UDP payload that every QUIC path carries (RFC 9000, section 14).
const MTU_MIN_BYTES: u16 = 1200;

/// The largest UDP payload of an Ethernet frame, by IPv4.
const ETHERNET_BYTES: u16 = 1472;

/// Streams of the peer that a server allows at first, unidirectional and bidirectional. QUIC keeps a table of them in each
/// session, which doubles at fifteen.
const STREAMS_AT_FIRST: [u32; 2] = [8, 6];

impl SessionLimits {
    /// The transport parameters and algorithms of a client that follow from the limits.
    pub(crate) fn client_transport(&self) -> Arc<TransportConfig> {
        Arc::new(self.transport())
    }

    /// The same of a server, which has many sessions.
    pub(crate) fn server_transport(&self) -> Arc<TransportConfig> {
        let mut transport = self.transport();
        let [uni, bi] = STREAMS_AT_FIRST;
        transport
            .max_concurrent_uni_streams(uni.min(self.uni_streams_max).into())
            .max_concurrent_bidi_streams(bi.min(self.bi_streams_max).into());
        Arc::new(transport)
    }

    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        let idle = IdleTimeout::try_from(self.idle_timeout)
            .unwrap_or_else(|_| IdleTimeout::from(VarInt::from_u32(u32::MAX)));
        transport
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(self.keep_alive)
            .max_concurrent_uni_streams(self.uni_streams_max.into())
            .max_concurrent_bidi_streams(self.bi_streams_max.into())
            .stream_receive_window(self.stream_window_bytes.into())
            .receive_window(self.receive_window_bytes.into())
            .send_window(self.send_window_bytes.into())
            .datagram_receive_buffer_size(Some(self.datagram_buffer_bytes))
            .datagram_send_buffer_size(self.datagram_send_bytes)
            .initial_mtu(MTU_MIN_BYTES)
            .congestion_controller_factory(self.controllers());
        transport.mtu_discovery_config(Some(self.mtu_discovery()));
        if let Some(every) = self.ack_every {
            let mut frequency = AckFrequencyConfig::default();
            frequency.ack_eliciting_threshold(every.into()).max_ack_delay(Some(self.ack_delay));
            transport.ack_frequency_config(Some(frequency));
        }
        transport
    }

    /// How a session looks for the largest datagram of its path.
    ///
    /// Each size that is tried costs both ends a datagram full of padding. Where all that can be won is what Ethernet carries,
    /// the largest is tried first, and half of the way when that is lost: nearly all networks of a plant carry it. Where there
    /// is more to win, quinn-proto halves from the middle.
    fn mtu_discovery(&self) -> MtuDiscoveryConfig {
        let mut discovery = MtuDiscoveryConfig::default();
        let largest_bytes = self.mtu_bytes.max(MTU_MIN_BYTES);
        discovery.upper_bound(largest_bytes);
        if largest_bytes <= ETHERNET_BYTES {
            // A size that differs by less than this from the last one is not tried: the middle of the way does.
            discovery.minimum_change((largest_bytes - MTU_MIN_BYTES) / 2 + 1);
        }
        discovery
    }

    /// How long a session should pause before it sends as fast as it can. A probe of the path goes out where nothing else does,
    /// so that one that never pauses stays with the smallest datagrams. One probe finds its moment; the search beyond Ethernet
    /// takes a dozen round trips, each with a delayed acknowledgement.
    #[must_use]
    pub fn search_pause(&self) -> Duration {
        if self.mtu_bytes <= ETHERNET_BYTES { Duration::ZERO } else { Duration::from_secs(1) }
    }

    /// Limits of a device that sends so many packets a second: it asks for acknowledgements that cost its peer least.
    ///
    /// Packets cost, and most of the cost of small ones is the acknowledgement of every second; so one for
    /// 32 of them is asked for. Where fewer come in the longest time that an acknowledgement is held back, it is asked for
    /// with the last packet that comes well before the end of that time: it costs the peer no timer, and no second visit to
    /// a session that has gone cold.
    #[must_use]
    pub fn sending_at(self, packets_hz: f64) -> Self {
        // Packets that follow the first one in four fifths of that time; the cast rounds down, and nothing to zero.
        let following = (packets_hz * self.ack_delay.as_secs_f64() * 0.8) as u32;
        Self { ack_every: Some(following.min(ACK_EVERY)), ..self }
    }

    /// The same with the congestion control of most other QUIC clients: the first flight that RFC 9002 recommends, no floor, and
    /// no wish for fewer acknowledgements, which a small window would wait for.
    #[must_use]
    pub fn with_stock_congestion(self) -> Self {
        Self { initial_flight_datagrams: 10, congestion_floor_bytes: 0, ack_every: None, ..self }
    }

    /// An initial window that leaves room for a full flight at any datagram size: a window that one datagram fills would
    /// keep the handshake from ever finishing.
    fn controllers(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        let datagram_bytes = u64::from(self.mtu_bytes.max(MTU_MIN_BYTES));
        let initial_bytes = u64::from(self.initial_flight_datagrams.max(2)) * datagram_bytes;
        self.congestion.factory(initial_bytes, self.congestion_floor_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ACK_EVERY, SessionLimits};
    use crate::Now;

    #[test]
    fn stock_congestion_control_begins_with_ten_datagrams_and_gives_way_to_every_loss() {
        let window_after_losses = |limits: SessionLimits| {
            let now = Now::simulated().instant;
            let mut controller = limits.controllers().build(now, 1452);
            let first = controller.window();
            for n in 1..60 {
                let at = now + Duration::from_secs(n);
                controller.on_congestion_event(at, at, false, 1452);
            }
            [first, controller.window()].map(|bytes| bytes / 1452)
        };
        let ours = SessionLimits::default().sending_at(1_000.0);
        assert_eq!(ours.clone().with_stock_congestion().ack_every, None);
        assert_eq!(window_after_losses(ours.clone()), [32, 32]);
        assert_eq!(window_after_losses(ours.with_stock_congestion()), [10, 2]);
    }

    #[test]
    fn acknowledgement_goes_with_the_last_packet_before_its_timer_and_with_every_33rd_at_most() {
        let asked = |packets_hz| SessionLimits::default().sending_at(packets_hz).ack_every;
        assert_eq!(asked(20.0), Some(0), "50 ms apart: each at once");
        assert_eq!(asked(50.0), Some(1), "with the second one, after 20 ms");
        assert_eq!(asked(100.0), Some(2), "with the third one, after 20 ms");
        assert_eq!(asked(1_590.0), Some(31));
        assert_eq!(asked(100_000.0), Some(ACK_EVERY));
        assert_eq!(asked(f64::INFINITY), Some(ACK_EVERY));
    }
}
