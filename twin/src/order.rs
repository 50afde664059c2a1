//! Orders: what an operator asks of an actuator, and the switch that stops the plant, between cold thread and tick thread.
//!
//! Orders go through a bounded ring and come back, each exactly once, with how they ended. The stop switch is a word of its
//! own that no number of orders can fill. Neither end ever waits for the other; a full ring is an answer, not a wait.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use netloop::{Consumer, Producer, ring};
use wire::{DeviceId, SensorType, Status};

/// Orders on their way at most; a further one is refused as busy.
pub const ORDERS_MAX: usize = 256;

/// A setpoint that an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// Counts the orders of this run, from 1.
    pub id: u64,
    /// When it was asked for, in nanoseconds since the Unix epoch.
    pub asked_ns: u64,
    /// The device.
    pub device: DeviceId,
    /// Which of the device's actuators.
    pub actuator_id: u16,
    /// What the actuator sets, if the world does not know it yet.
    pub sensor_type: SensorType,
    /// The device's sensor that was heard last: the way to its session.
    pub via: u16,
    /// The value, in the unit of the actuator's type.
    pub value: f64,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device holds the setpoint.
    Acknowledged,
    /// The device answered with another status.
    Rejected(Status),
    /// The stream was reset, or could not be opened.
    Reset,
    /// No answer came within the deadline.
    Expired,
    /// The world has no such device, or the name is a sensor's.
    Unknown,
    /// The device has no session that answers commands.
    Unreachable,
    /// The plant is stopped.
    Stopped,
    /// A ring or a table is full.
    Busy,
    /// A later command to the same actuator took its place.
    Replaced,
}

impl Outcome {
    /// All names, as in the API and the metrics.
    pub const NAMES: [&str; 11] = [
        "acknowledged",
        "unknown_to_device",
        "refused_by_device",
        "out_of_range",
        "reset",
        "expired",
        "unknown",
        "unreachable",
        "stopped",
        "busy",
        "replaced",
    ];

    /// Position in [`Outcome::NAMES`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            // A device that answers a setpoint with `ok` has acknowledged it.
            Self::Acknowledged | Self::Rejected(Status::Ok) => 0,
            Self::Rejected(Status::Unknown) => 1,
            Self::Rejected(Status::Refused) => 2,
            Self::Rejected(Status::OutOfRange) => 3,
            Self::Reset => 4,
            Self::Expired => 5,
            Self::Unknown => 6,
            Self::Unreachable => 7,
            Self::Stopped => 8,
            Self::Busy => 9,
            Self::Replaced => 10,
        }
    }

    /// Lower-case name, as in the API and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// The end of an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrderEnd {
    /// Which one.
    pub id: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What the actuator holds, where the device said so; else what was asked for.
    pub value: f64,
    /// When the end was received, in nanoseconds since the Unix epoch.
    pub ended_ns: u64,
}

/// The cold thread's end.
#[derive(Debug)]
pub struct OrderDesk {
    orders: Producer<Order>,
    ends: Consumer<OrderEnd>,
    switch: Arc<StopSwitch>,
    on_their_way: usize,
    next_id: u64,
}

/// The tick thread's end.
#[derive(Debug)]
pub struct OrderPort {
    orders: Consumer<Order>,
    ends: Producer<OrderEnd>,
    switch: Arc<StopSwitch>,
    bell: Option<UnixStream>,
}

/// Makes the two ends, of a plant that nobody has stopped.
#[must_use]
pub fn orders() -> (OrderDesk, OrderPort) {
    orders_after(StopRequest::default())
}

/// Makes the two ends, of a plant in which this request holds from the beginning.
#[must_use]
pub fn orders_after(held: StopRequest) -> (OrderDesk, OrderPort) {
    let (orders, orders_out) = ring(ORDERS_MAX);
    let (ends, ends_out) = ring(ORDERS_MAX);
    let switch = Arc::new(StopSwitch::holding(held));
    let switched = Arc::clone(&switch);
    let port = OrderPort { orders: orders_out, ends, switch: switched, bell: None };
    (OrderDesk { orders, ends: ends_out, switch, on_their_way: 0, next_id: 1 }, port)
}

impl OrderDesk {
    /// Sends an order, whose id is given here, and says which; nothing when too many are on their way.
    pub fn push(&mut self, order: Order) -> Option<u64> {
        if self.on_their_way == ORDERS_MAX {
            return None;
        }
        let id = self.next_id;
        self.orders.push(Order { id, ..order }).ok()?;
        self.next_id += 1;
        self.on_their_way += 1;
        Some(id)
    }

    /// The next order that has ended.
    pub fn poll(&mut self) -> Option<OrderEnd> {
        let end = self.ends.pop()?;
        self.on_their_way -= 1;
        Some(end)
    }

    /// True while an order has not ended.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.on_their_way > 0
    }

    /// Who asked for what was asked for last.
    #[must_use]
    pub fn stop_source(&self) -> StopSource {
        self.switch.source()
    }

    /// Stops the plant, or clears the stop, asked for at `asked_ns` since the Unix epoch. Gives the request's number; an
    /// order that holds already changes nothing and gives the number in force. To clear a plant that nobody has stopped as far
    /// as is known here is a request like others: devices may stand since before this twin began.
    pub fn set_stopped(&self, stopped: bool, asked_ns: u64) -> u64 {
        self.switch.set(stopped, asked_ns, StopSource::Operator)
    }

    /// What was asked for last, by whom and when.
    #[must_use]
    pub fn stop_request(&self) -> StopRequest {
        // The word first, because its acquire lets the others be found.
        let (word, asked_ns) = self.switch.load();
        StopRequest { word, source: self.switch.source(), asked_ns }
    }

    /// What was asked for last.
    #[must_use]
    pub fn stop_asked(&self) -> StopWord {
        self.switch.load().0
    }
}

impl OrderPort {
    /// Rings this bell with each end of an order, so that whoever waits need not look. It must never block.
    #[must_use]
    pub fn ringing(mut self, bell: UnixStream) -> Self {
        self.bell = Some(bell);
        self
    }

    /// The next order.
    pub fn pop(&mut self) -> Option<Order> {
        self.orders.pop()
    }

    /// Gives the end of an order back.
    ///
    /// # Panics
    /// More ends than orders.
    pub fn push_end(&mut self, end: OrderEnd) {
        self.ends.push(end).expect("room because the desk lets no more orders out than ends fit");
        if let Some(mut bell) = self.bell.as_ref() {
            // A bell that is full has rung.
            let _ = bell.write(&[1]);
        }
    }

    /// Stops the plant for a device or a rule; a stop that holds stays as it is.
    pub fn request_stop(&self, source: StopSource, asked_ns: u64) {
        self.switch.set(true, asked_ns, source);
    }

    /// What was asked for last, and when, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn stop(&self) -> (StopWord, u64) {
        self.switch.load()
    }
}

/// A request to stop or to clear, by its number: the number counts both, and odd ones stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopWord(pub u64);

impl StopWord {
    /// True when the plant shall stand.
    #[must_use]
    pub const fn is_stopped(self) -> bool {
        self.0 % 2 == 1
    }
}

/// A request to stop or to clear, with who made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// Its number.
    pub word: StopWord,
    /// Who asked.
    pub source: StopSource,
    /// When, in nanoseconds since the Unix epoch.
    pub asked_ns: u64,
}

/// Who asked for a stop, or for its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum StopSource {
    /// Somebody at the surface.
    #[default]
    Operator = 0,
    /// A device, by a command of its own.
    Device = 1,
    /// A rule of the twin.
    Rule = 2,
    /// The twin at its start, which could not read whether the plant was stopped.
    Restart = 3,
}

impl StopSource {
    const ALL: [Self; 4] = [Self::Operator, Self::Device, Self::Rule, Self::Restart];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }

    /// Lower-case name, as in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Device => "device",
            Self::Rule => "rule",
            Self::Restart => "restart",
        }
    }
}

/// One word that the cold thread and the tick thread count on.
#[derive(Debug, Default)]
struct StopSwitch {
    word: AtomicU64,
    asked_ns: AtomicU64,
    source: AtomicU8,
}

impl StopSwitch {
    fn holding(held: StopRequest) -> Self {
        Self {
            word: AtomicU64::new(held.word.0),
            asked_ns: AtomicU64::new(held.asked_ns),
            source: AtomicU8::new(held.source as u8),
        }
    }

    fn set(&self, stopped: bool, asked_ns: u64, source: StopSource) -> u64 {
        let held = self.word.load(Ordering::Relaxed);
        let next = match (StopWord(held).is_stopped(), stopped) {
            // Nobody was told anything yet. The number is even, and not that of what nobody asked for.
            (false, false) if held == 0 => 2,
            (holds, asked) if holds == asked => return held,
            _ => held + 1,
        };
        // The time first: the release below pairs with the acquire of the reader, who then finds it. Of two who ask at the
        // same moment one is counted, with the time and the name of either.
        self.asked_ns.store(asked_ns, Ordering::Relaxed);
        self.source.store(source as u8, Ordering::Relaxed);
        let counted = self.word.compare_exchange(held, next, Ordering::Release, Ordering::Relaxed);
        counted.map_or_else(|now| now, |_| next)
    }

    fn source(&self) -> StopSource {
        // The word says that somebody asked; its acquire comes first.
        self.word.load(Ordering::Acquire);
        let at = usize::from(self.source.load(Ordering::Relaxed));
        StopSource::ALL.get(at).copied().unwrap_or_default()
    }

    fn load(&self) -> (StopWord, u64) {
        let word = self.word.load(Ordering::Acquire);
        (StopWord(word), self.asked_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let (device, sensor_type) = (DeviceId([1; 16]), SensorType::Temperature);
        Order { id: 0, asked_ns: 1, device, actuator_id: 100, sensor_type, via: 0, value: 20.0 }
    }

    #[test]
    fn no_more_orders_leave_than_ends_fit_and_each_gets_its_number() {
        let (mut desk, mut port) = orders();
        let ids: Vec<_> = (0..ORDERS_MAX + 1).map(|_| desk.push(order())).collect();
        assert_eq!(ids[..2], [Some(1), Some(2)]);
        assert_eq!(ids.iter().filter(|id| id.is_none()).count(), 1);
        while let Some(Order { id, .. }) = port.pop() {
            port.push_end(OrderEnd { id, outcome: Outcome::Busy, value: 0.0, ended_ns: 2 });
        }
        assert!(desk.push(order()).is_none(), "an end that nobody fetched still takes its place");
        let ends: Vec<u64> = std::iter::from_fn(|| desk.poll()).map(|end| end.id).collect();
        assert_eq!(ends, (1..=ORDERS_MAX as u64).collect::<Vec<_>>());
        assert!(!desk.is_waiting());
    }

    #[test]
    fn the_switch_counts_changes_and_not_presses() {
        let (desk, port) = orders();
        assert_eq!(port.stop(), (StopWord(0), 0));
        assert_eq!([desk.set_stopped(true, 5), desk.set_stopped(true, 6)], [1, 1]);
        assert_eq!(port.stop(), (StopWord(1), 5));
        assert_eq!([desk.set_stopped(false, 7), desk.set_stopped(false, 8)], [2, 2]);
        assert!(!port.stop().0.is_stopped());
    }

    #[test]
    fn a_clear_of_what_nobody_stopped_is_a_request_once_and_a_held_stop_goes_on() {
        let (desk, port) = orders();
        assert_eq!([desk.set_stopped(false, 5), desk.set_stopped(false, 6)], [2, 2]);
        assert_eq!(port.stop(), (StopWord(2), 5));
        assert_eq!(desk.set_stopped(true, 7), 3);
        let held = StopRequest { word: StopWord(7), source: StopSource::Device, asked_ns: 9 };
        let (desk, port) = orders_after(held);
        assert_eq!((port.stop(), desk.stop_request()), ((StopWord(7), 9), held));
        assert_eq!(desk.set_stopped(true, 10), 7);
        assert_eq!(desk.set_stopped(false, 11), 8);
    }
}
