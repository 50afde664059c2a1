//! The cells of a capture: marks, and events of sessions as cells. Slots of records are cells as they are.
//!
//! All numbers are little-endian, which is the order of every machine that this is built for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytemuck::{Pod, Zeroable};
use netloop::{CloseReason, SessionEvent, SessionId, Slot, TierTally};
use wire::{CloseCode, DeviceId, Hello, SensorType, Tier, Totals};

use crate::order::Order;

#[cfg(target_endian = "big")]
compile_error!("a capture holds the slots of the rings as they lie in memory: little-endian");

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MarkKind {
    /// `count` slots of tier `sub` follow, taken from a ring at once.
    Chunk = 1,
    /// A step of a session of kind `sub`; `count` further cells belong to it.
    Event = 2,
    /// The end of a tick: number, moment, digest, room for commands.
    Tick = 3,
    /// What came before since the last tick is not whole; so many cells were shed, in so many ticks.
    Gap = 4,
    /// An order of an operator; `sub` is 1 where a full ring refused it.
    Order = 6,
    /// The stop of the plant was asked for, or cleared: the word, and when.
    Stop = 7,
    /// The end of the run: the hash of the world, and the ticks that were captured.
    End = 5,
    /// The state of the world, in the `count` cells that follow: its form, the tick after which it held, and the bytes of
    /// its parts.
    State = 8,
}

impl MarkKind {
    const ALL: [Self; 8] = [
        Self::Chunk,
        Self::Event,
        Self::Tick,
        Self::Gap,
        Self::End,
        Self::Order,
        Self::Stop,
        Self::State,
    ];
}

/// A cell that says what the cells around it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Mark {
    kind: u8,
    /// Depends on the kind.
    pub sub: u8,
    zero: [u8; 2],
    /// Cells that follow and belong to it.
    pub count: u32,
    /// Depends on the kind.
    pub words: [u64; 7],
}

const _: () = assert!(size_of::<Mark>() == size_of::<Slot>(), "a mark is a cell");

impl Mark {
    /// A mark of this kind.
    #[must_use]
    pub const fn new(kind: MarkKind, sub: u8, count: u32, words: [u64; 7]) -> Self {
        Self { kind: kind as u8, sub, zero: [0; 2], count, words }
    }

    /// What it says; none if no mark begins so.
    #[must_use]
    pub fn kind(&self) -> Option<MarkKind> {
        MarkKind::ALL.into_iter().find(|kind| *kind as u8 == self.kind && self.zero == [0; 2])
    }

    /// Whether a tick begins behind it: behind the end of one, what is missing, or a state.
    #[must_use]
    pub fn ends_tick(&self) -> bool {
        matches!(self.kind(), Some(MarkKind::Tick | MarkKind::Gap | MarkKind::State))
    }

    /// As a cell.
    #[must_use]
    pub const fn cell(self) -> Slot {
        bytemuck::must_cast(self)
    }

    /// The mark in a cell.
    #[must_use]
    pub fn of(cell: &Slot) -> &Self {
        bytemuck::must_cast_ref(cell)
    }

    /// The tier of a chunk.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        Tier::ALL.get(usize::from(self.sub)).copied()
    }
}

/// The counts of a session, all tiers together.
const TALLY_BYTES: usize = size_of::<[TierTally; 3]>();
/// Cells beside the mark that a closed session takes.
const CLOSED_CELLS: usize = TALLY_BYTES.div_ceil(size_of::<Slot>());
/// Most cells that an event takes, its mark included.
pub(super) const EVENT_CELLS_MAX: usize = 1 + CLOSED_CELLS;

const OPENED: u8 = 0;
const HELLO: u8 = 1;
const CLOSED: u8 = 2;
const FAILED: u8 = 3;

/// Writes an event into `cells` and says how many of them it took.
pub(super) fn encode_event(event: &SessionEvent, cells: &mut [Slot; EVENT_CELLS_MAX]) -> usize {
    let mut count = 0;
    let (sub, words) = match *event {
        SessionEvent::Opened { session, remote } => {
            let ip = match remote.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let [low, high] = words_of(&ip.octets());
            (OPENED, [session.0.into(), low, high, remote.port().into(), 0, 0, 0])
        }
        SessionEvent::Hello { session, hello, proven } => {
            let [low, high] = words_of(&hello.device.0);
            let (capabilities, epoch) = (hello.capabilities.into(), hello.epoch.into());
            (HELLO, [session.0.into(), capabilities, epoch, low, high, proven.into(), 0])
        }
        SessionEvent::Closed { session, reason, tally, totals } => {
            let bytes: &[u8; TALLY_BYTES] = bytemuck::must_cast_ref(&tally);
            let to: &mut [u8] = bytemuck::cast_slice_mut(&mut cells[1..]);
            to.fill(0);
            to[..bytes.len()].copy_from_slice(bytes);
            count = CLOSED_CELLS;
            let (kind, code) = encode_reason(reason);
            let [a, b, c] = totals.unwrap_or_default().offered;
            (CLOSED, [session.0.into(), kind, code, totals.is_some().into(), a, b, c])
        }
        SessionEvent::Failed { session, reason } => {
            let (kind, code) = encode_reason(reason);
            (FAILED, [session.0.into(), kind, code, 0, 0, 0, 0])
        }
    };
    cells[0] = Mark::new(MarkKind::Event, sub, count as u32, words).cell();
    1 + count
}

/// The event of a mark and the cells that belong to it; none if they are no event.
pub(super) fn decode_event(mark: &Mark, cells: &[Slot]) -> Option<SessionEvent> {
    let words = mark.words;
    let session = SessionId(u32::try_from(words[0]).ok()?);
    Some(match mark.sub {
        OPENED => {
            let ip = Ipv6Addr::from(bytes_of(words[1], words[2])).to_canonical();
            SessionEvent::Opened {
                session,
                remote: SocketAddr::new(ip, u16::try_from(words[3]).ok()?),
            }
        }
        HELLO => {
            let hello = Hello {
                capabilities: u32::try_from(words[1]).ok()?,
                epoch: u32::try_from(words[2]).ok()?,
                device: DeviceId(bytes_of(words[3], words[4])),
            };
            SessionEvent::Hello { session, hello, proven: words[5] != 0 }
        }
        CLOSED => {
            let bytes: &[u8] = bytemuck::cast_slice(cells.get(..CLOSED_CELLS)?);
            let tally: [TierTally; 3] = bytemuck::pod_read_unaligned(bytes.get(..TALLY_BYTES)?);
            let offered = [words[4], words[5], words[6]];
            let totals = (words[3] != 0).then_some(Totals { offered });
            let reason = decode_reason(words[1], words[2])?;
            SessionEvent::Closed { session, reason, tally, totals }
        }
        FAILED => SessionEvent::Failed { session, reason: decode_reason(words[1], words[2])? },
        _ => return None,
    })
}

/// An order as a mark.
pub(super) fn encode_order(order: &Order, was_busy: bool) -> Mark {
    let [low, high] = words_of(&order.device.0);
    let names = u64::from(order.actuator_id)
        | u64::from(order.via) << 16
        | u64::from(order.sensor_type as u8) << 32;
    let words = [order.id, order.asked_ns, low, high, names, order.value.to_bits(), 0];
    Mark::new(MarkKind::Order, was_busy.into(), 0, words)
}

/// The order of a mark, and whether a full ring refused it; none if it is no order.
pub(super) fn decode_order(mark: &Mark) -> Option<(Order, bool)> {
    let [id, asked_ns, low, high, names, value, _] = mark.words;
    let order = Order {
        id,
        asked_ns,
        device: DeviceId(bytes_of(low, high)),
        actuator_id: names as u16,
        sensor_type: SensorType::from_u8((names >> 32) as u8)?,
        via: (names >> 16) as u16,
        value: f64::from_bits(value),
    };
    Some((order, mark.sub == 1))
}

fn encode_reason(reason: CloseReason) -> (u64, u64) {
    match reason {
        CloseReason::Peer(None) => (0, 0),
        CloseReason::Peer(Some(code)) => (1, code as u64),
        CloseReason::Local(code) => (2, code as u64),
        CloseReason::Idle => (3, 0),
        CloseReason::Reset => (4, 0),
        CloseReason::Tls(alert) => (5, alert.into()),
        CloseReason::Transport => (6, 0),
    }
}

fn decode_reason(kind: u64, code: u64) -> Option<CloseReason> {
    Some(match kind {
        0 => CloseReason::Peer(None),
        1 => CloseReason::Peer(Some(CloseCode::from_u64(code)?)),
        2 => CloseReason::Local(CloseCode::from_u64(code)?),
        3 => CloseReason::Idle,
        4 => CloseReason::Reset,
        5 => CloseReason::Tls(u8::try_from(code).ok()?),
        6 => CloseReason::Transport,
        _ => return None,
    })
}

fn words_of(bytes: &[u8; 16]) -> [u64; 2] {
    let (words, _) = bytes.as_chunks::<8>();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}

fn bytes_of(low: u64, high: u64) -> [u8; 16] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(event: &SessionEvent) {
        let mut cells = [Slot::new([0xee; 39]); EVENT_CELLS_MAX];
        let took = encode_event(event, &mut cells);
        let mark = Mark::of(&cells[0]);
        assert_eq!((mark.kind(), mark.count as usize), (Some(MarkKind::Event), took - 1));
        let back = decode_event(mark, &cells[1..took]).unwrap();
        assert_eq!(format!("{back:?}"), format!("{event:?}"));
    }

    #[test]
    fn every_event_comes_back_as_it_was() {
        let session = SessionId(0xfff0_1234);
        let device = DeviceId(*b"0123456789abcdef");
        let hello = Hello { capabilities: 3, epoch: u32::MAX, device };
        let tally = [1, 2, 3].map(|n| TierTally {
            received: n,
            rejected: 10,
            forbidden: 5,
            shed: 20,
            decode_errors: 30,
        });
        for remote in ["10.1.2.3:4433", "[2001:db8::7]:65535"] {
            round_trip(&SessionEvent::Opened { session, remote: remote.parse().unwrap() });
        }
        for proven in [false, true] {
            round_trip(&SessionEvent::Hello { session, hello, proven });
        }
        let codes = CloseCode::ALL.into_iter();
        let reasons = codes
            .flat_map(|code| [CloseReason::Peer(Some(code)), CloseReason::Local(code)])
            .chain([CloseReason::Peer(None), CloseReason::Idle, CloseReason::Reset])
            .chain([CloseReason::Tls(48), CloseReason::Transport]);
        for reason in reasons {
            for totals in [None, Some(Totals { offered: [u64::MAX, 0, 7] })] {
                round_trip(&SessionEvent::Closed { session, reason, tally, totals });
            }
            round_trip(&SessionEvent::Failed { session, reason });
        }
    }

    #[test]
    fn orders_come_back_as_they_were() {
        for (sensor_type, was_busy) in
            SensorType::ALL.into_iter().zip([false, true].into_iter().cycle())
        {
            let device = DeviceId(*b"0123456789abcdef");
            let (actuator_id, via, value) = (0xfedc, 0x1234, -0.0);
            let order =
                Order { id: 9, asked_ns: u64::MAX, device, actuator_id, sensor_type, via, value };
            assert_eq!(decode_order(&encode_order(&order, was_busy)), Some((order, was_busy)));
        }
        let mut mark = Mark::new(MarkKind::Order, 0, 0, [0; 7]);
        mark.words[4] = 0xff << 32;
        assert_eq!(decode_order(&mark), None, "no such type");
    }

    #[test]
    fn what_is_no_event_is_none() {
        let mut mark = Mark::new(MarkKind::Event, 9, 0, [0; 7]);
        assert!(decode_event(&mark, &[]).is_none(), "no such kind");
        mark.sub = CLOSED;
        assert!(decode_event(&mark, &[]).is_none(), "its cells are missing");
        mark.sub = FAILED;
        mark.words[1] = 99;
        assert!(decode_event(&mark, &[]).is_none(), "no such reason");
        mark.words[0] = u64::MAX;
        assert!(decode_event(&mark, &[]).is_none(), "no such session");
    }
}
