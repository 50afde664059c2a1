//! The simulated devices: their ids, their sensors, and the actuator that closes the loop.
//!
//! A device of the industrial profile has a cooling actuator. It acknowledges a setpoint at once; its temperature then
//! approaches the setpoint with a first-order lag. Cooling only cools: a setpoint above what the machine reaches by
//! itself lets it warm up again.

use std::collections::HashMap;
use std::ops::Range;

use wire::{Command, DeviceId, Operation, Reading, Record, SensorType, Status, Tier};

use super::{seeded::Seeded, waveform::Waveform};
use crate::args::Profile;
use crate::world::ACTUATOR_ID;

/// The coldest setpoint that the actuator takes, in degrees Celsius.
pub const SETPOINT_MIN_C: f64 = -40.0;
/// The warmest setpoint that the actuator takes, in degrees Celsius; also what holds before the first one.
pub const SETPOINT_MAX_C: f64 = 150.0;

/// What a machine that stands cools down to, in degrees Celsius: its surroundings.
pub(super) const SETPOINT_STOPPED_C: f64 = 20.0;

/// After so long the temperature has covered 63 % of the way to its target.
const COOLING_LAG_US: f64 = 5e6;

/// All devices, in the order of their numbers.
#[derive(Debug)]
pub struct Population {
    sensors: Vec<Sensor>,
    sensors_per_device: usize,
    /// One for each device, or none at all where the profile has no actuator.
    coolings: Vec<Cooling>,
    devices: HashMap<DeviceId, u32>,
    /// Devices that stand until they are cleared, by number.
    stopped: Vec<bool>,
    /// By number, of the session that is open.
    obeyed: Vec<Obeyed>,
}

#[derive(Debug)]
struct Sensor {
    waveform: Waveform,
    device: DeviceId,
    sensor_id: u16,
    /// True once a setpoint bears on this sensor.
    cooled: bool,
    /// The next sequence number of each tier.
    next_seq: [u32; Tier::COUNT],
}

/// The numbers of the latest commands of a session that a device has obeyed.
#[derive(Debug, Clone, Copy, Default)]
struct Obeyed {
    stop: Option<u32>,
    setpoint: Option<u32>,
}

/// Whether a command comes behind a later one, since streams overtake each other; else it is the latest now.
/// PROTOCOL.md#t3.
fn is_overtaken(latest: &mut Option<u32>, seq: u32) -> bool {
    let overtaken = latest.is_some_and(|latest| latest.wrapping_sub(seq).cast_signed() > 0);
    if !overtaken {
        *latest = Some(seq);
    }
    overtaken
}

#[derive(Debug, Clone, Copy)]
struct Cooling {
    setpoint: f64,
    level: f64,
    at_us: u64,
}

impl Cooling {
    /// The temperature at `ts_us`, where `natural` is what it would be without cooling.
    ///
    /// The implicit step of a first-order lag: stable for any distance in time, and without an exponential.
    fn follow(&mut self, natural: f64, ts_us: u64) -> f64 {
        let passed_us = ts_us.saturating_sub(self.at_us) as f64;
        if passed_us > 0.0 {
            let target = natural.min(self.setpoint);
            self.level += (target - self.level) * (passed_us / (COOLING_LAG_US + passed_us));
            self.at_us = ts_us;
        }
        self.level
    }
}

/// The sensors of a profile, by their sensor id.
const fn sensor_types(profile: Profile) -> &'static [SensorType] {
    match profile {
        Profile::Single => &[SensorType::Temperature],
        Profile::Industrial => &[
            SensorType::Temperature,
            SensorType::Humidity,
            SensorType::Pressure,
            SensorType::Voltage,
            SensorType::Current,
        ],
    }
}

impl Population {
    /// So many devices of a profile; the seed names them and their curves.
    #[must_use]
    pub fn new(profile: Profile, devices: u32, seed: u64) -> Self {
        let types = sensor_types(profile);
        let mut seeded = Seeded::new(seed, 1);
        let mut sensors = Vec::with_capacity(devices as usize * types.len());
        let mut by_id = HashMap::with_capacity(devices as usize);
        for number in 0..devices {
            let device = device_id(&mut seeded);
            by_id.insert(device, number);
            sensors.extend(types.iter().zip(0..).map(|(&sensor_type, sensor_id)| Sensor {
                waveform: Waveform::new(sensor_type, &mut seeded),
                device,
                sensor_id,
                cooled: false,
                next_seq: [0; Tier::COUNT],
            }));
        }
        let cooling = Cooling { setpoint: SETPOINT_MAX_C, level: 0.0, at_us: 0 };
        let coolings = match profile {
            Profile::Single => Vec::new(),
            Profile::Industrial => vec![cooling; devices as usize],
        };
        Self {
            sensors,
            sensors_per_device: types.len(),
            coolings,
            devices: by_id,
            stopped: vec![false; devices as usize],
            obeyed: vec![Obeyed::default(); devices as usize],
        }
    }

    /// Another session begins for these devices: its commands are numbered apart.
    pub fn begin_session(&mut self, devices: Range<u32>) {
        self.obeyed[devices.start as usize..devices.end as usize].fill(Obeyed::default());
    }

    /// Sensors of one device.
    #[must_use]
    pub const fn sensors_per_device(&self) -> usize {
        self.sensors_per_device
    }

    /// Sensors of all devices.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.sensors.len()
    }

    /// True when there is no sensor.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sensors.is_empty()
    }

    /// The next record of a sensor on a tier, and with it the next sequence number.
    #[inline]
    pub fn next_record(&mut self, sensor: usize, tier: Tier, ts_us: u64) -> Record {
        let seq = self.sensors[sensor].next_seq[tier.index()];
        self.sensors[sensor].next_seq[tier.index()] = seq.wrapping_add(1);
        let value = self.value(sensor, ts_us, seq);
        let Sensor { device, sensor_id, waveform, .. } = self.sensors[sensor];
        let sensor_type = waveform.sensor_type();
        Record::encode(&Reading { device, sensor_id, value, ts_us, seq, sensor_type })
    }

    #[inline]
    fn value(&mut self, sensor: usize, ts_us: u64, seq: u32) -> f64 {
        let natural = self.sensors[sensor].waveform.value(ts_us, seq);
        if self.sensors[sensor].cooled {
            self.coolings[sensor / self.sensors_per_device].follow(natural, ts_us)
        } else {
            natural
        }
    }

    /// Answers a command of the twin; nothing for an operation that devices do not have. `carried` are the devices of
    /// the session that it came by, which a stop concerns.
    pub fn answer(&mut self, request: &Record, carried: Range<u32>, now_us: u64) -> Option<Record> {
        let command = Command::decode(request).ok()?;
        let operation = command.operation()?;
        if matches!(operation, Operation::Stop | Operation::Clear) {
            self.stop(carried, operation == Operation::Stop, request.seq(), now_us);
            return Some(Command::ack(*request, Status::Ok, 0.0));
        }
        let (status, value) = match self.devices.get(&request.device()) {
            None => (Status::Unknown, request.value()),
            Some(&device) if request.sensor_id() == ACTUATOR_ID => {
                self.actuate(device as usize, operation, request, now_us)
            }
            Some(&device) => self.read(device as usize, operation, request, now_us),
        };
        Some(Command::ack(*request, status, value))
    }

    /// Lets devices stand, or work again. A machine that stands cools down.
    fn stop(&mut self, devices: Range<u32>, stopped: bool, seq: u32, now_us: u64) {
        for device in devices.map(|device| device as usize) {
            if is_overtaken(&mut self.obeyed[device].stop, seq) {
                continue;
            }
            let was = std::mem::replace(&mut self.stopped[device], stopped);
            if was != stopped && !self.coolings.is_empty() {
                self.cool(
                    device,
                    if stopped { SETPOINT_STOPPED_C } else { SETPOINT_MAX_C },
                    now_us,
                );
            }
        }
    }

    fn actuate(
        &mut self,
        device: usize,
        operation: Operation,
        request: &Record,
        now_us: u64,
    ) -> (Status, f64) {
        let asked = request.value();
        let Some(holds) = self.coolings.get(device).map(|cooling| cooling.setpoint) else {
            return (Status::Unknown, asked);
        };
        match operation {
            Operation::Read => (Status::Ok, holds),
            _ if self.stopped[device] => (Status::Refused, holds),
            Operation::Setpoint if !(SETPOINT_MIN_C..=SETPOINT_MAX_C).contains(&asked) => {
                (Status::OutOfRange, holds)
            }
            Operation::Setpoint
                if is_overtaken(&mut self.obeyed[device].setpoint, request.seq()) =>
            {
                (Status::Ok, holds)
            }
            Operation::Setpoint | Operation::Stop | Operation::Clear => {
                self.cool(device, asked, now_us);
                (Status::Ok, asked)
            }
        }
    }

    /// Lets the setpoint bear on the temperature, which is the first sensor, from where it is now.
    fn cool(&mut self, device: usize, setpoint: f64, now_us: u64) {
        let sensor = device * self.sensors_per_device;
        let level = self.value(sensor, now_us, 0);
        self.coolings[device] = Cooling { setpoint, level, at_us: now_us };
        self.sensors[sensor].cooled = true;
    }

    fn read(
        &mut self,
        device: usize,
        operation: Operation,
        request: &Record,
        now_us: u64,
    ) -> (Status, f64) {
        let sensor_id = usize::from(request.sensor_id());
        if sensor_id >= self.sensors_per_device || operation != Operation::Read {
            return (Status::Unknown, request.value());
        }
        let sensor = device * self.sensors_per_device + sensor_id;
        let seq = self.sensors[sensor].next_seq[Tier::T1.index()];
        (Status::Ok, self.value(sensor, now_us, seq))
    }
}

/// The id under which the sessions of a fleet introduce themselves.
#[must_use]
pub fn gateway_id(seed: u64) -> DeviceId {
    device_id(&mut Seeded::new(seed, 4))
}

/// A random device id, marked as of version 8 (RFC 9562): the layout is ours. The version also keeps it from ever
/// beginning with the magic of a control stream.
fn device_id(seeded: &mut Seeded) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seeded.next().to_le_bytes());
    bytes[8..].copy_from_slice(&seeded.next().to_le_bytes());
    bytes[6] = 0x80 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    DeviceId(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: u64 = 1_700_000_000_000_000;

    fn request(population: &mut Population, sensor_id: u16, value: f64, op: Operation) -> Record {
        let reading = population.next_record(0, Tier::T3, START_US).decode().unwrap();
        let sensor_type = SensorType::Temperature;
        Command::request(Record::encode(&Reading { sensor_id, value, sensor_type, ..reading }), op)
    }

    fn answer(population: &mut Population, request: &Record, now_us: u64) -> (Status, f64) {
        let ack = population.answer(request, 0..1, now_us).unwrap();
        assert_eq!((ack.key(), ack.seq()), (request.key(), request.seq()));
        (Command::decode(&ack).unwrap().status().unwrap(), ack.value())
    }

    #[test]
    fn sequence_numbers_count_by_one_for_each_sensor_and_tier() {
        let mut population = Population::new(Profile::Industrial, 3, 1);
        for round in 0..5 {
            for sensor in 0..population.len() {
                let seq = population.next_record(sensor, Tier::T1, START_US).seq();
                assert_eq!(seq, round);
            }
        }
        assert_eq!(population.next_record(4, Tier::T2, START_US).seq(), 0);
        assert_eq!(population.next_record(4, Tier::T2, START_US).seq(), 1);
        assert_eq!(population.next_record(4, Tier::T1, START_US).seq(), 5);
    }

    #[test]
    fn a_seed_names_its_devices_and_no_two_are_alike() {
        let keys = |seed| -> Vec<_> {
            let mut population = Population::new(Profile::Industrial, 500, seed);
            (0..population.len())
                .map(|sensor| *population.next_record(sensor, Tier::T1, START_US).key())
                .collect()
        };
        let first = keys(11);
        assert_eq!(first, keys(11));
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), 2_500);
        assert_ne!(first[0], keys(12)[0]);
    }

    #[test]
    fn every_record_obeys_the_rules_of_the_wire() {
        let mut population = Population::new(Profile::Industrial, 20, 5);
        for at in 0..1_000 {
            let sensor = at % population.len();
            let record = population.next_record(sensor, Tier::T1, START_US + at as u64 * 1_000);
            let reading = record.decode().unwrap();
            assert_eq!(usize::from(reading.sensor_id), sensor % 5);
            assert_eq!(reading.ts_us, START_US + at as u64 * 1_000);
        }
    }

    #[test]
    fn temperature_approaches_the_setpoint_with_its_lag() {
        let mut population = Population::new(Profile::Industrial, 1, 8);
        let before = population.next_record(0, Tier::T1, START_US).value();
        let setpoint = request(&mut population, ACTUATOR_ID, 20.0, Operation::Setpoint);
        assert_eq!(answer(&mut population, &setpoint, START_US), (Status::Ok, 20.0));
        let mut temperature = before;
        let mut after_lag = before;
        for step in 1..=3_000_u64 {
            let next = population.next_record(0, Tier::T1, START_US + step * 10_000).value();
            assert!(next <= temperature, "step {step}: {next} after {temperature}");
            temperature = next;
            if step == 500 {
                after_lag = next;
            }
        }
        let covered = (before - after_lag) / (before - 20.0);
        assert!((0.62..0.65).contains(&covered), "{covered} of the way after one lag");
        assert!((20.0..20.2).contains(&temperature), "{temperature} after six lags");
    }

    #[test]
    fn a_warm_setpoint_lets_the_machine_warm_up_again() {
        let mut population = Population::new(Profile::Industrial, 1, 8);
        let natural = population.next_record(0, Tier::T1, START_US).value();
        for (setpoint, until_us) in [(20.0, START_US), (150.0, START_US + 60_000_000)] {
            let setpoint = request(&mut population, ACTUATOR_ID, setpoint, Operation::Setpoint);
            answer(&mut population, &setpoint, until_us);
            for step in 1..=6_000 {
                population.next_record(0, Tier::T1, until_us + step * 10_000);
            }
        }
        let warm = population.next_record(0, Tier::T1, START_US + 120_000_000).value();
        assert!(warm > 35.0 && natural > 35.0, "{natural} before, {warm} after");
    }

    #[test]
    fn commands_that_fit_nothing_are_answered_with_their_status() {
        let mut population = Population::new(Profile::Industrial, 2, 3);
        let hot = request(&mut population, ACTUATOR_ID, 151.0, Operation::Setpoint);
        assert_eq!(answer(&mut population, &hot, START_US), (Status::OutOfRange, SETPOINT_MAX_C));
        let sensor = request(&mut population, 1, 5.0, Operation::Setpoint);
        assert_eq!(answer(&mut population, &sensor, START_US).0, Status::Unknown);
        let absent = request(&mut population, 7, 0.0, Operation::Read);
        assert_eq!(answer(&mut population, &absent, START_US).0, Status::Unknown);
        let read = request(&mut population, ACTUATOR_ID, 0.0, Operation::Read);
        assert_eq!(answer(&mut population, &read, START_US), (Status::Ok, SETPOINT_MAX_C));
        let mut other = Population::new(Profile::Single, 1, 99);
        let stranger = request(&mut other, 0, 0.0, Operation::Read);
        assert_eq!(answer(&mut population, &stranger, START_US).0, Status::Unknown);
        let unassigned = read.with_kind(0xe1);
        assert_eq!(population.answer(&unassigned, 0..1, START_US), None);
    }

    #[test]
    fn a_device_that_stands_refuses_setpoints_until_it_is_cleared() {
        let mut population = Population::new(Profile::Industrial, 2, 3);
        let stop = request(&mut population, 0, 0.0, Operation::Stop);
        assert_eq!(answer(&mut population, &stop, START_US), (Status::Ok, 0.0));
        let setpoint = request(&mut population, ACTUATOR_ID, 50.0, Operation::Setpoint);
        let refused = (Status::Refused, SETPOINT_STOPPED_C);
        assert_eq!(answer(&mut population, &setpoint, START_US), refused);
        let clear = request(&mut population, 0, 0.0, Operation::Clear);
        assert_eq!(answer(&mut population, &clear, START_US).0, Status::Ok);
        assert_eq!(answer(&mut population, &setpoint, START_US), (Status::Ok, 50.0));
    }

    #[test]
    fn a_command_behind_a_later_one_changes_nothing_until_the_next_session() {
        let mut population = Population::new(Profile::Industrial, 2, 3);
        let stop = request(&mut population, 0, 0.0, Operation::Stop);
        let clear = request(&mut population, 0, 0.0, Operation::Clear);
        let [early, late] = [40.0, 60.0]
            .map(|value| request(&mut population, ACTUATOR_ID, value, Operation::Setpoint));
        for overtaken in [&clear, &stop] {
            assert_eq!(answer(&mut population, overtaken, START_US), (Status::Ok, 0.0));
        }
        for overtaken in [&late, &early] {
            assert_eq!(answer(&mut population, overtaken, START_US), (Status::Ok, 60.0));
        }
        population.begin_session(0..2);
        assert_eq!(answer(&mut population, &early, START_US), (Status::Ok, 40.0));
        assert_eq!(answer(&mut population, &stop, START_US), (Status::Ok, 0.0));
        assert_eq!(answer(&mut population, &late, START_US), (Status::Refused, SETPOINT_STOPPED_C));
    }
}
