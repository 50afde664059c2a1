//! What a seed stands for: the plant, its network, and the faults that strike it.
//!
//! A scenario draws few kinds of faults out of many (swarm testing): what always comes together hides what only one of them
//! does. All of them end before the plant has to heal.

use std::fmt;

use crate::chance::Chance;

/// One device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePlan {
    /// Its number in the scenario, which names it.
    pub number: u32,
    /// Sensors.
    pub sensors: u16,
    /// Between two batches of T1, one record a sensor, in microseconds.
    pub period_us: u64,
    /// Every so many batches, each sensor also writes an event on T2; 0 for never.
    pub t2_every: u64,
    /// Every so many batches it asks the twin for a value; 0 for never.
    pub t3_every: u64,
    /// Whether it opens its sessions with a hello.
    pub hello: bool,
    /// Delay of its path, one way, in microseconds.
    pub delay_us: u64,
    /// Whether it obeys commands that later ones have overtaken, which PROTOCOL.md#t3 forbids.
    pub heedless: bool,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Each datagram is lost with this probability.
    Loss(f64),
    /// Losses come in runs of this mean length, between runs without any of the second.
    Bursts(f64, f64),
    /// Each datagram may be late by as much, in microseconds, so that later ones overtake it.
    Reorder(u64),
    /// Each datagram may be late by as much, in microseconds, and those behind it wait for it.
    Jitter(u64),
    /// Each datagram comes twice with this probability.
    Duplicate(f64),
    /// Everything takes so much longer, in microseconds.
    Delay(u64),
    /// The path carries so many bytes a second, behind a queue of so many bytes.
    Rate(u64, u64),
    /// Datagrams above this size vanish.
    BlackHole(usize),
    /// Nothing passes.
    Partition,
    /// Nothing passes from the twin, everything passes to it.
    Deaf,
    /// A bit of each datagram is turned with this probability.
    Corrupt(f64),
    /// The device comes from another address, at the beginning of the fault.
    Address,
    /// The device boots, at the beginning of the fault.
    Reboot,
    /// The workers take no turn.
    StallWorkers,
    /// No tick runs; those of the time are missed.
    StallTicks,
    /// The twin's wall clock jumps ahead by so many microseconds, or is set back.
    ClockJump(i64),
    /// So many handshakes a second are begun by sources that never go on with them.
    Flood(u64),
    /// An operator stops the plant, and clears the stop at the end of the fault.
    Stop,
}

/// Which datagrams a fault loses on a path, as lengths of runs: so many pass, so many are lost, and so on. Behind the last
/// run all pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// The device whose path it is.
    pub device: u32,
    /// To the twin, or from it.
    pub to_twin: bool,
    /// The lengths, the first of a run that passes.
    pub lengths: Vec<u32>,
}

/// A fault, where and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Begin, in microseconds since the start.
    pub from_us: u64,
    /// End, in microseconds since the start.
    pub until_us: u64,
    /// The device whose path it is; none for all.
    pub device: Option<u32>,
    /// What it does.
    pub kind: Kind,
    /// Makes its draws its own, so that they stay when another fault is cut out.
    pub number: u64,
    /// What [`Kind::Loss`] and [`Kind::Bursts`] lose, written down; nothing where it is drawn.
    pub runs: Option<Vec<Runs>>,
}

/// Everything that a run is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it was drawn from, and what all further draws begin with.
    pub seed: u64,
    /// Workers that share the port.
    pub workers: u8,
    /// Ticks a second.
    pub hz: u32,
    /// How long a worker rests after a turn, in microseconds.
    pub rest_us: u64,
    /// Lines of the rings, by tier.
    pub rings: [usize; 3],
    /// Budgets of a tick, by tier.
    pub drain: [usize; 3],
    /// Whether a rule commands the actuators.
    pub rule: bool,
    /// Between two orders of an operator, in microseconds; 0 for none.
    pub order_every_us: u64,
    /// The devices.
    pub devices: Vec<DevicePlan>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// When the last fault ends, in microseconds since the start.
    pub faults_end_us: u64,
    /// How long the plant has to heal, in microseconds.
    pub heal_us: u64,
}

/// How much a scenario may be.
#[derive(Debug, Clone, Copy)]
struct Size {
    devices: u64,
    faults: u64,
    faults_ms: u64,
    /// Between two batches of a device, in microseconds.
    periods_us: &'static [u64],
}

impl Size {
    /// Small enough for hundreds of them in a test.
    const SMALL: Self = Self {
        devices: 5,
        faults: 6,
        faults_ms: 700,
        periods_us: &[2_000, 5_000, 10_000, 20_000, 50_000],
    };
    /// For hours.
    const LARGE: Self = Self { devices: 40, faults: 16, faults_ms: 6_000, ..Self::SMALL };
    /// Many devices that say little.
    const SLOW: Self = Self {
        devices: 80,
        faults: 16,
        faults_ms: 12_000,
        periods_us: &[100_000, 200_000, 500_000, 1_000_000],
    };

    /// Most are small.
    fn draw(chance: &mut Chance) -> Self {
        match chance.between(0, 31) {
            0 => Self::LARGE,
            1..=4 => Self::SLOW,
            _ => Self::SMALL,
        }
    }
}

const PURPOSE: u64 = 0x5ce0;
/// Sessions that a fault has killed are given up after the idle timeout, come back, and catch up.
const HEAL_US: u64 = 4_000_000;

impl Scenario {
    /// The scenario of a seed: small, or where `large` allows it, large for one seed in 32 and slow for one in eight.
    #[must_use]
    pub fn draw(seed: u64, large: bool) -> Self {
        let mut chance = Chance::new(seed, PURPOSE);
        let size = if large { Size::draw(&mut chance) } else { Size::SMALL };
        let devices = 1 + chance.between(0, size.devices - 1) as u32;
        let faults_end_us = 1_000 * chance.between(size.faults_ms / 4, size.faults_ms);
        let small_rings = chance.happens(0.2);
        let mut scenario = Self {
            seed,
            workers: chance.pick(&[1, 1, 2, 3]),
            hz: chance.pick(&[60, 200, 500, 1000]),
            rest_us: chance.pick(&[0, 200, 1000]),
            rings: if small_rings { [64, 64, 64] } else { [4096, 1024, 256] },
            drain: [4096, 1024, 256],
            rule: chance.happens(0.7),
            order_every_us: chance.pick(&[0, 7_000, 40_000, 300_000]),
            devices: (0..devices)
                .map(|number| DevicePlan::draw(number, &size, &mut chance))
                .collect(),
            faults: Vec::new(),
            faults_end_us,
            heal_us: HEAL_US,
        };
        let slowest_us = scenario.devices.iter().map(|of| of.period_us).max().unwrap_or(0);
        scenario.heal_us += 3 * slowest_us;
        let load = scenario.twice_the_load();
        if chance.happens(0.2) {
            scenario.drain = load;
        }
        // What comes in one tick has room, so that nobody is shed for ever once the plant has healed.
        for (ring, load) in scenario.rings.iter_mut().zip(load) {
            *ring = (*ring).max(2 * load).next_power_of_two();
        }
        let kinds: Vec<u64> = (0..chance.between(1, 4)).map(|_| chance.between(0, 17)).collect();
        for number in 0..chance.between(0, size.faults) {
            let kind = Kind::draw(chance.pick(&kinds), &mut chance);
            let fault = Fault::draw(number, kind, &scenario, &mut chance);
            scenario.faults.push(fault);
        }
        scenario.heal_us += scenario.given_up_us();
        scenario
    }

    /// How long a device may keep a session whose address changed in its handshake: nothing is answered then, and QUIC
    /// waits for three probe timeouts (RFC 9000, section 10.1). A first round trip of two delays makes each of them six (RFC
    /// 9002, sections 5.3 and 6.2).
    #[must_use]
    pub fn given_up_us(&self) -> u64 {
        let moves = self.faults.iter().any(|fault| fault.kind == Kind::Address);
        let delays = self.faults.iter().map(|fault| match fault.kind {
            Kind::Delay(longer_us) if moves => longer_us,
            _ => 0,
        });
        3 * 6 * delays.max().unwrap_or(0)
    }

    /// A plant of so many sessions, each with so many sensors at 100 Hz, that runs for a minute without faults.
    #[must_use]
    pub fn steady(seed: u64, sessions: u32, sensors: u16) -> Self {
        let device = |number| DevicePlan {
            number,
            sensors,
            period_us: 10_000,
            t2_every: 0,
            t3_every: 0,
            hello: true,
            delay_us: 200,
            heedless: false,
        };
        Self {
            seed,
            workers: 1,
            hz: 100,
            rest_us: 1_000,
            rings: [4096, 1024, 256],
            drain: [4096, 1024, 256],
            rule: false,
            order_every_us: 0,
            devices: (0..sessions).map(device).collect(),
            faults: Vec::new(),
            faults_end_us: 0,
            heal_us: 60_000_000,
        }
    }

    /// Budgets that suffice, and that a backlog has to use.
    fn twice_the_load(&self) -> [usize; 3] {
        let hz = u64::from(self.hz);
        let mut per_s = [0; 3];
        for device in &self.devices {
            let batches = 1_000_000 / device.period_us;
            let sensors = u64::from(device.sensors);
            per_s[0] += batches * sensors;
            per_s[1] += (batches * sensors).checked_div(device.t2_every).unwrap_or(0);
            per_s[2] += batches.checked_div(device.t3_every).unwrap_or(0) + sensors;
        }
        per_s.map(|records| 2 * records.div_ceil(hz) as usize + 2)
    }

    /// Length of the run before its devices leave, in microseconds.
    #[must_use]
    pub const fn until_us(&self) -> u64 {
        self.faults_end_us + self.heal_us
    }
}

impl DevicePlan {
    fn draw(number: u32, size: &Size, chance: &mut Chance) -> Self {
        Self {
            number,
            sensors: chance.between(1, 6) as u16,
            period_us: chance.pick(size.periods_us),
            t2_every: chance.pick(&[0, 1, 3, 10]),
            t3_every: chance.pick(&[0, 2, 7, 30]),
            hello: chance.happens(0.85),
            delay_us: chance.pick(&[50, 200, 1_000, 10_000, 40_000]),
            heedless: false,
        }
    }
}

impl Kind {
    fn draw(kind: u64, chance: &mut Chance) -> Self {
        match kind {
            0 => Self::Loss(chance.pick(&[0.01, 0.05, 0.2, 0.5])),
            1 => Self::Bursts(chance.pick(&[2.0, 8.0, 40.0]), chance.pick(&[20.0, 200.0])),
            2 => Self::Reorder(chance.pick(&[100, 3_000, 60_000])),
            3 => Self::Duplicate(chance.pick(&[0.02, 0.3, 1.0])),
            4 => Self::Delay(chance.pick(&[5_000, 100_000, 600_000])),
            5 => Self::Rate(chance.pick(&[4_000, 40_000, 400_000]), chance.pick(&[3_000, 60_000])),
            6 => Self::BlackHole(chance.pick(&[1_200, 1_280, 1_400])),
            7 => Self::Partition,
            8 => Self::Deaf,
            9 => Self::Corrupt(chance.pick(&[0.01, 0.3])),
            10 => Self::Address,
            11 => Self::Reboot,
            12 => Self::StallWorkers,
            13 => Self::StallTicks,
            14 => Self::ClockJump(chance.pick(&[1_000, 1_000_000, 3_600_000_000, -3_600_000_000])),
            15 => Self::Jitter(chance.pick(&[100, 3_000, 60_000])),
            16 => Self::Flood(chance.pick(&[100, 1_000, 3_000])),
            _ => Self::Stop,
        }
    }

    /// Whether it strikes the twin and no path.
    const fn is_of_twin(self) -> bool {
        matches!(self, Self::StallWorkers | Self::StallTicks | Self::ClockJump(_))
    }

    /// Whether it loses datagrams by chance.
    pub(crate) const fn loses(self) -> bool {
        matches!(self, Self::Loss(_) | Self::Bursts(..))
    }
}

impl Fault {
    fn draw(number: u64, kind: Kind, scenario: &Scenario, chance: &mut Chance) -> Self {
        let from_us = chance.between(0, scenario.faults_end_us - 1);
        let longest_us = scenario.faults_end_us - from_us;
        let longest_us = if kind.is_of_twin() { longest_us.min(300_000) } else { longest_us };
        let device = chance.between(0, scenario.devices.len() as u64) as usize;
        Self {
            from_us,
            until_us: from_us + chance.between(1, longest_us),
            device: scenario.devices.get(device).map(|device| device.number),
            kind,
            number,
            runs: None,
        }
    }

    /// Whether it strikes now.
    #[must_use]
    pub fn is_on(&self, at_us: u64) -> bool {
        (self.from_us..self.until_us).contains(&at_us)
    }

    /// Whether it strikes this device now.
    #[must_use]
    pub fn strikes(&self, device: u32, at_us: u64) -> bool {
        self.device.is_none_or(|of| of == device) && self.is_on(at_us)
    }
}

/// Twenty lines at most.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LISTED: usize = 8;
        writeln!(
            f,
            "seed {}: {} devices, {} workers resting {} us, {} Hz, rings {:?}, drain {:?}, rule {}, an order every {} us, faults for {} ms, {} ms to heal",
            self.seed,
            self.devices.len(),
            self.workers,
            self.rest_us,
            self.hz,
            self.rings,
            self.drain,
            self.rule,
            self.order_every_us,
            self.faults_end_us / 1000,
            self.heal_us / 1000,
        )?;
        for device in self.devices.iter().take(LISTED) {
            let DevicePlan {
                number, sensors, period_us, t2_every, t3_every, hello, delay_us, ..
            } = device;
            writeln!(
                f,
                "  device {number}: {sensors} sensors every {period_us} us, T2 every {t2_every}, T3 every {t3_every}, hello {hello}, path {delay_us} us"
            )?;
        }
        for fault in self.faults.iter().take(LISTED + 1) {
            let Fault { from_us, until_us, device, kind, number, runs } = fault;
            let device = device.map_or_else(|| "all".to_owned(), |device| device.to_string());
            let lost = |of: &Runs| of.lengths.iter().skip(1).step_by(2).sum::<u32>();
            let written = runs.iter().flatten().map(lost).sum::<u32>();
            let written = runs
                .as_ref()
                .map_or_else(String::new, |_| format!(", {written} losses written down"));
            writeln!(
                f,
                "  fault {number}: {from_us} to {until_us} us, device {device}, {kind:?}{written}"
            )?;
        }
        let more = [
            self.devices.len().saturating_sub(LISTED),
            self.faults.len().saturating_sub(LISTED + 1),
        ];
        if more != [0, 0] {
            writeln!(f, "  and {} devices, {} faults", more[0], more[1])?;
        }
        Ok(())
    }
}
