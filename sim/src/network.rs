//! The network between devices and twin: a path each way for every device, on which faults strike.
//!
//! A datagram passes the faults in their order, each with draws of its own, so that a fault that is cut out changes nothing
//! in the others. What arrives, arrives in the order of its time, then of its sending.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use crate::chance::Chance;
use crate::scenario::{Fault, Kind, Runs, Scenario};

/// Where the twin listens.
pub(crate) const TWIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 255, 0, 1)), 4433);

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    ToTwin,
    ToDevice,
}

/// A datagram that arrives.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    pub(crate) at_ns: u64,
    order: u64,
    pub(crate) device: u32,
    pub(crate) way: Way,
    /// The address of the device as the twin sees it.
    pub(crate) from: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// What a fault remembers of a path.
#[derive(Debug)]
struct Struck {
    chance: Chance,
    /// Datagrams until the run of losses, or of none, ends.
    run: u32,
    losing: bool,
    /// When the queue before a slow path is empty again, or the one before has arrived.
    idle_ns: u64,
    /// Run lengths of what passed and what was lost.
    noted: Vec<u32>,
    /// The run of those that are written down, and how much of it is used.
    at: (usize, u32),
}

/// All paths.
pub(crate) struct Network {
    seed: u64,
    faults: Vec<Fault>,
    delays_us: BTreeMap<u32, u64>,
    addresses: BTreeMap<u32, SocketAddr>,
    by_address: BTreeMap<SocketAddr, u32>,
    struck: BTreeMap<(u64, u32, Way), Struck>,
    flights: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    /// A number that all datagrams on the wire so far decide.
    pub(crate) wire_hash: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Network {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let devices = scenario.devices.iter();
        let by_address = devices.clone().map(|of| (address(of.number, 0), of.number)).collect();
        Self {
            seed: scenario.seed,
            by_address,
            faults: scenario.faults.clone(),
            delays_us: devices.clone().map(|of| (of.number, of.delay_us)).collect(),
            addresses: devices.map(|of| (of.number, address(of.number, 0))).collect(),
            struck: BTreeMap::new(),
            flights: BinaryHeap::new(),
            order: 0,
            wire_hash: 0,
            sent: 0,
            lost: 0,
        }
    }

    /// The device that has this address now.
    pub(crate) fn device_at(&self, address: SocketAddr) -> Option<u32> {
        self.by_address.get(&address).copied()
    }

    /// Gives a device another address: another port, or another host too.
    pub(crate) fn move_device(&mut self, device: u32, times: u32) {
        let to = address(device, times);
        if let Some(from) = self.addresses.insert(device, to) {
            self.by_address.remove(&from);
        }
        self.by_address.insert(to, device);
    }

    /// When the next datagram arrives.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.flights.peek().map(|Reverse(flight)| flight.at_ns)
    }

    /// The next datagram that has arrived.
    pub(crate) fn poll(&mut self, now_ns: u64) -> Option<Arrival> {
        self.flights.peek().filter(|Reverse(flight)| flight.at_ns <= now_ns)?;
        self.flights.pop().map(|Reverse(flight)| flight)
    }

    /// Puts a datagram on the path of a device.
    pub(crate) fn send(&mut self, now_ns: u64, device: u32, way: Way, payload: &[u8]) {
        self.sent += 1;
        for chunk in payload.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.wire_hash = (self.wire_hash ^ u64::from_le_bytes(word))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(23);
        }
        let delay_ns = self.delays_us[&device] * 1_000;
        let mut flight = Passing { at_ns: now_ns + delay_ns, copies: 1, payload: payload.to_vec() };
        let Self { faults, struck, seed, lost, .. } = self;
        for fault in faults.iter().filter(|fault| fault.strikes(device, now_ns / 1_000)) {
            let path = (fault.number, device, way);
            let of_path = struck.entry(path).or_insert_with(|| Struck::new(*seed, path));
            if !of_path.pass(fault, device, way, &mut flight) {
                *lost += 1;
                return;
            }
        }
        let from = self.addresses[&device];
        for copy in 0..flight.copies {
            self.order += 1;
            let (at_ns, payload) = (flight.at_ns + copy * 1_000, flight.payload.clone());
            let arrival = Arrival { at_ns, order: self.order, device, way, from, payload };
            self.flights.push(Reverse(arrival));
        }
    }

    /// What the faults that lose by chance have lost, by the number of the fault.
    pub(crate) fn losses(&self) -> Vec<(u64, Runs)> {
        let noted = self.struck.iter().filter(|(_, struck)| !struck.noted.is_empty());
        let runs = noted.map(|(&(fault, device, way), struck)| {
            let (to_twin, lengths) = (way == Way::ToTwin, struck.noted.clone());
            (fault, Runs { device, to_twin, lengths })
        });
        runs.collect()
    }
}

/// A datagram on its way through the faults.
struct Passing {
    at_ns: u64,
    copies: u64,
    payload: Vec<u8>,
}

impl Struck {
    fn new(seed: u64, (fault, device, way): (u64, u32, Way)) -> Self {
        let purpose = fault << 33 | u64::from(device) << 1 | u64::from(way == Way::ToTwin);
        Self {
            chance: Chance::new(seed, purpose ^ 0xfa17),
            run: 0,
            losing: true,
            idle_ns: 0,
            noted: Vec::new(),
            at: (0, 0),
        }
    }

    /// What a fault makes of a datagram; false when it is lost.
    fn pass(&mut self, fault: &Fault, device: u32, way: Way, flight: &mut Passing) -> bool {
        match fault.kind {
            Kind::Loss(_) | Kind::Bursts(..) => {
                let lost = self.is_lost(fault, device, way);
                self.note(lost);
                return !lost;
            }
            Kind::Reorder(late_us) => flight.at_ns += self.chance.between(0, late_us) * 1_000,
            Kind::Jitter(late_us) => {
                flight.at_ns += self.chance.between(0, late_us) * 1_000;
                flight.at_ns = flight.at_ns.max(self.idle_ns);
                self.idle_ns = flight.at_ns;
            }
            Kind::Duplicate(probability) => {
                flight.copies += u64::from(self.chance.happens(probability));
            }
            Kind::Delay(longer_us) => flight.at_ns += longer_us * 1_000,
            Kind::Rate(bytes_per_s, queue_bytes) => {
                return self.is_carried(bytes_per_s, queue_bytes, fault.until_us, flight);
            }
            Kind::BlackHole(bytes) => return flight.payload.len() <= bytes,
            Kind::Partition => return false,
            Kind::Deaf => return way == Way::ToTwin,
            Kind::Corrupt(probability) => {
                if self.chance.happens(probability) {
                    let bit = self.chance.between(0, flight.payload.len() as u64 * 8 - 1);
                    flight.payload[bit as usize / 8] ^= 1 << (bit % 8);
                }
            }
            Kind::Address
            | Kind::Reboot
            | Kind::StallWorkers
            | Kind::StallTicks
            | Kind::ClockJump(_)
            | Kind::Flood(_)
            | Kind::Stop => {}
        }
        true
    }

    fn is_lost(&mut self, fault: &Fault, device: u32, way: Way) -> bool {
        if let Some(runs) = &fault.runs {
            let of_path = |of: &&Runs| of.device == device && of.to_twin == (way == Way::ToTwin);
            let lengths = runs.iter().find(of_path).map_or(&[][..], |of| &of.lengths);
            return self.is_written(lengths);
        }
        match fault.kind {
            Kind::Loss(probability) => self.chance.happens(probability),
            Kind::Bursts(losses, between) => self.is_in_burst(losses, between),
            _ => false,
        }
    }

    /// Whether the next datagram falls into a losing run of these.
    fn is_written(&mut self, lengths: &[u32]) -> bool {
        while let Some(&length) = lengths.get(self.at.0) {
            if self.at.1 < length {
                self.at.1 += 1;
                return self.at.0 % 2 == 1;
            }
            self.at = (self.at.0 + 1, 0);
        }
        false
    }

    fn note(&mut self, lost: bool) {
        // Runs that pass have even places.
        if self.noted.is_empty() {
            self.noted.push(0);
        }
        if self.noted.len().is_multiple_of(2) != lost {
            self.noted.push(0);
        }
        *self.noted.last_mut().expect("there is a run because one was pushed") += 1;
    }

    /// The next datagram of a pattern of run lengths.
    fn is_in_burst(&mut self, losses: f64, between: f64) -> bool {
        if self.run == 0 {
            self.losing = !self.losing;
            self.run = self.chance.run(if self.losing { losses } else { between });
        }
        self.run -= 1;
        self.losing
    }

    fn is_carried(
        &mut self,
        bytes_per_s: u64,
        queue_bytes: u64,
        until_us: u64,
        flight: &mut Passing,
    ) -> bool {
        let waiting_ns = self.idle_ns.saturating_sub(flight.at_ns);
        let bytes = flight.payload.len() as u64;
        if waiting_ns * bytes_per_s / 1_000_000_000 + bytes > queue_bytes {
            return false;
        }
        self.idle_ns = self.idle_ns.max(flight.at_ns) + bytes * 1_000_000_000 / bytes_per_s;
        // What still waits when the fault ends goes at once.
        flight.at_ns = self.idle_ns.min(flight.at_ns.max(until_us * 1_000));
        true
    }
}

fn address(device: u32, times: u32) -> SocketAddr {
    let [.., high, low] = device.to_be_bytes();
    SocketAddr::from(([10, times as u8 % 250, high, low], 9_000 + times as u16))
}
