//! The forms in which the API tells what it knows: JSON, times in seconds or milliseconds as the name says.
//!
//! `twin/src/http/openapi.json` describes them; a script of the gate holds the two together.

use std::sync::LazyLock;

use serde::Serialize;
use wire::{DeviceId, SensorType, capability};

use crate::histograms::LatencySummary;
use crate::host::{self, Host};
use crate::interval::Latency;
use crate::mirror::{self, Mirror};
use crate::picture::ShownSession;
use crate::rates::Sampler;
use crate::stats::{Direction, SYSTEMS, TierTotals};
use crate::world::{self, ActuatorStatus};

use super::Surface;
use super::surface::GivenOrder;

/// Units by sensor type, as PROTOCOL.md has them.
const UNITS: [&str; SensorType::COUNT] = ["", "°C", "%", "kPa", "V", "A"];
/// A device is said to have a clock that is ahead where its records come so long before they were sent, in seconds: a clock that
/// somebody keeps is never so far off.
const CLOCK_AHEAD_S: f64 = 1.0;
/// Levels as their bytes count them.
pub(crate) const LEVELS: [&str; 3] = ["normal", "high", "low"];

/// A sensor.
#[derive(Debug, Serialize)]
pub(super) struct Sensor {
    pub(super) number: u32,
    device: String,
    sensor: u16,
    r#type: &'static str,
    unit: &'static str,
    level: &'static str,
    value: f64,
    smoothed: f32,
    /// Intended send time of the value; null before there is one.
    sent_unix_ms: Option<f64>,
    received_unix_ms: Option<f64>,
    pub(super) age_s: Option<f64>,
}

impl Sensor {
    pub(super) fn of(mirror: &Mirror, number: u32) -> Self {
        let sensor = &mirror.sensors()[number as usize];
        let known = sensor.recv_ns > 0;
        Self {
            number,
            device: mirror.device_of(sensor).to_string(),
            sensor: sensor.sensor_id,
            r#type: sensor.sensor_type.name(),
            unit: UNITS[sensor.sensor_type.index()],
            level: LEVELS[usize::from(sensor.level).min(2)],
            value: sensor.value,
            smoothed: sensor.smoothed,
            sent_unix_ms: known.then(|| sensor.ts_us as f64 / 1e3),
            received_unix_ms: known.then(|| sensor.recv_ns as f64 / 1e6),
            age_s: age_s(mirror, sensor),
        }
    }
}

/// Age of the latest value in seconds, as [`Mirror::age_ns`] has it; nothing before there is one.
pub(super) fn age_s(mirror: &Mirror, sensor: &mirror::Sensor) -> Option<f64> {
    (sensor.recv_ns > 0).then(|| mirror.age_ns(sensor) as f64 / 1e9)
}

/// An actuator.
#[derive(Debug, Serialize)]
pub(super) struct Actuator {
    actuator: u16,
    r#type: &'static str,
    unit: &'static str,
    state: &'static str,
    requested: Option<f64>,
    acknowledged: Option<f64>,
    sent_unix_ms: Option<f64>,
}

impl Actuator {
    fn of(actuator: &mirror::Actuator) -> Self {
        let sensor_type =
            SensorType::from_u8(actuator.key.sensor_type).unwrap_or(SensorType::Generic);
        let (state, status) = (&actuator.state, ActuatorStatus::of(&actuator.state));
        let asked = status != ActuatorStatus::Idle;
        Self {
            actuator: actuator.key.sensor_id,
            r#type: sensor_type.name(),
            unit: UNITS[sensor_type.index()],
            state: match status {
                ActuatorStatus::Idle => "idle",
                ActuatorStatus::Pending => "pending",
                ActuatorStatus::Acknowledged => "acknowledged",
                ActuatorStatus::Failed => "failed",
                ActuatorStatus::Expired => "expired",
            },
            requested: asked.then_some(state.requested),
            acknowledged: (status == ActuatorStatus::Acknowledged).then_some(state.acknowledged),
            sent_unix_ms: asked.then(|| state.sent_ns as f64 / 1e6),
        }
    }
}

/// A device in a list.
#[derive(Debug, Serialize)]
pub(super) struct Device {
    device: String,
    sensors: usize,
    actuators: usize,
    /// Sensors above or below their thresholds.
    outside: usize,
    worst_age_s: Option<f64>,
}

impl Device {
    pub(super) fn of(mirror: &Mirror, device: &mirror::Device) -> Self {
        let sensors = device.sensors.iter().map(|&number| &mirror.sensors()[number as usize]);
        let ages = sensors.clone().filter_map(|sensor| age_s(mirror, sensor));
        Self {
            device: device.id.to_string(),
            sensors: device.sensors.len(),
            actuators: device.actuators.len(),
            outside: sensors.filter(|sensor| sensor.level != 0).count(),
            worst_age_s: ages.reduce(f64::max),
        }
    }
}

/// A device with what it has.
#[derive(Debug, Serialize)]
pub(super) struct DeviceWhole {
    device: String,
    /// When it was so, by the twin's clock.
    at_unix_ms: f64,
    sensors: Vec<Sensor>,
    actuators: Vec<Actuator>,
}

impl DeviceWhole {
    pub(super) fn of(mirror: &Mirror, device: &mirror::Device) -> Self {
        Self {
            device: device.id.to_string(),
            at_unix_ms: mirror.at_ns() as f64 / 1e6,
            sensors: device.sensors.iter().map(|&number| Sensor::of(mirror, number)).collect(),
            actuators: device
                .actuators
                .iter()
                .map(|&at| Actuator::of(&mirror.actuators()[at as usize]))
                .collect(),
        }
    }
}

/// A session.
#[derive(Debug, Serialize)]
pub(super) struct Session {
    session: u32,
    remote: String,
    device: Option<String>,
    epoch: u32,
    answers_commands: bool,
    opened_unix_ms: f64,
    /// How long it has been open, or was.
    age_s: f64,
    /// Why it closed, as [`netloop::CloseReason`] says it; nothing while it is open.
    closed: Option<String>,
}

impl Session {
    pub(super) fn of(shown: &ShownSession, now_ns: u64) -> Self {
        let ended_ns = shown.closed.map_or(now_ns, |close| close.at_ns);
        Self {
            session: shown.session.0,
            remote: shown.remote.to_string(),
            device: shown.device.map(|device| device.to_string()),
            epoch: shown.epoch,
            answers_commands: shown.capabilities & capability::COMMANDS != 0,
            opened_unix_ms: shown.opened_ns as f64 / 1e6,
            age_s: ended_ns.saturating_sub(shown.opened_ns) as f64 / 1e9,
            closed: shown.closed.map(|close| close.reason.to_string()),
        }
    }
}

/// A threshold that was crossed.
#[derive(Debug, Serialize)]
pub(super) struct Crossing {
    number: u64,
    device: String,
    sensor: u16,
    r#type: &'static str,
    unit: &'static str,
    direction: &'static str,
    smoothed: f32,
    sent_unix_ms: f64,
}

impl Crossing {
    /// A crossing of this sensor.
    pub(super) fn of(
        mirror: &Mirror,
        (crossing, sensor): (&mirror::Crossing, &mirror::Sensor),
    ) -> Self {
        Self {
            number: crossing.number,
            device: mirror.device_of(sensor).to_string(),
            sensor: sensor.sensor_id,
            r#type: sensor.sensor_type.name(),
            unit: UNITS[sensor.sensor_type.index()],
            direction: direction(crossing.direction),
            smoothed: crossing.smoothed,
            sent_unix_ms: crossing.ts_us as f64 / 1e3,
        }
    }
}

pub(super) const fn direction(direction: world::Direction) -> &'static str {
    match direction {
        world::Direction::Up => "up",
        world::Direction::Down => "down",
    }
}

/// A command of an operator.
#[derive(Debug, Serialize)]
pub(super) struct Command {
    id: u64,
    device: String,
    sensor: u16,
    value: f64,
    /// `sent` until it has ended, then how.
    pub(super) state: &'static str,
    /// What the actuator holds, once the device has said so.
    holds: Option<f64>,
    asked_unix_ms: f64,
    /// From the request to the receipt of the acknowledgement.
    took_ms: Option<f64>,
}

impl Command {
    pub(super) fn of(given: &GivenOrder) -> Self {
        let GivenOrder { order, end } = given;
        let took_ns = |end: &crate::order::OrderEnd| end.ended_ns.saturating_sub(order.asked_ns);
        Self {
            id: order.id,
            device: order.device.to_string(),
            sensor: order.actuator_id,
            value: order.value,
            state: given.state(),
            holds: end.filter(|_| given.state() == "acknowledged").map(|end| end.value),
            asked_unix_ms: order.asked_ns as f64 / 1e6,
            took_ms: end.as_ref().map(|end| took_ns(end) as f64 / 1e6),
        }
    }
}

/// The stop of the plant.
#[derive(Debug, Serialize)]
pub(super) struct Stop {
    stopped: bool,
    /// Counts stops and clears.
    request: u64,
    /// Who asked for it; nobody before the first one.
    by: Option<&'static str>,
    /// The tick has taken the request; before that nobody is concerned.
    taken: bool,
    /// Sessions that shall be told, and what became of it.
    concerned: u64,
    acknowledged: u64,
    refused: u64,
    gone: u64,
    waiting: u64,
}

impl Stop {
    pub(super) fn of(surface: &Surface) -> Self {
        let (asked, stop) = (surface.stop_asked(), &surface.stats().stop);
        // Counts of an earlier request say nothing of this one.
        let of_this = stop.word() == asked;
        let count = |counter: &crate::stats::Counter| if of_this { counter.value() } else { 0 };
        let (concerned, gone) = (count(&stop.concerned), count(&stop.gone));
        let (acknowledged, refused) = (count(&stop.acknowledged), count(&stop.refused));
        Self {
            stopped: asked.is_stopped(),
            request: asked.0,
            by: (asked.0 > 0).then(|| surface.stop_source().name()),
            taken: of_this,
            concerned,
            acknowledged,
            refused,
            gone,
            waiting: concerned.saturating_sub(acknowledged + refused + gone),
        }
    }
}

/// What all sensors of a type come to.
#[derive(Debug, Serialize)]
pub(super) struct Aggregate {
    r#type: &'static str,
    unit: &'static str,
    count: u64,
    mean: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    crossings_up: u64,
    crossings_down: u64,
    /// Thresholds of the type; null where there is none.
    low: Option<f64>,
    high: Option<f64>,
}

impl Aggregate {
    pub(super) fn all(surface: &Surface) -> Vec<Self> {
        let (stats, thresholds) = (surface.stats(), &surface.options().thresholds);
        let of = |sensor_type: SensorType| {
            let at = sensor_type.index();
            let aggregate = &stats.aggregates[at];
            let count = aggregate.count.value();
            let known = |real: &crate::stats::Real| (count > 0).then(|| real.value());
            let finite = |value: f64| value.is_finite().then_some(value);
            Self {
                r#type: sensor_type.name(),
                unit: UNITS[at],
                count,
                mean: known(&aggregate.mean),
                min: known(&aggregate.min),
                max: known(&aggregate.max),
                crossings_up: stats.crossings[at][0].value(),
                crossings_down: stats.crossings[at][1].value(),
                low: finite(thresholds[at].low),
                high: finite(thresholds[at].high),
            }
        };
        SensorType::ALL.map(of).into()
    }
}

/// Percentiles and shape of a latency since the start, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct LatencyView {
    name: &'static str,
    count: u64,
    p50_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
    /// Upper bounds, a quarter of an octave apart, with how many lie below and above the bound before.
    buckets: Vec<(f64, u64)>,
}

impl LatencyView {
    pub(super) fn all(surface: &Surface) -> Vec<Self> {
        let report = surface.report();
        Latency::ALL.map(|latency| Self::of(latency, report.total(latency))).into()
    }

    fn of(latency: Latency, histogram: &hdrhistogram::Histogram<u64>) -> Self {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for cell in histogram.iter_recorded() {
            let octave = (cell.value_iterated_to() as f64 / 1e3).max(1e-3).log2();
            let bound = ((octave * 4.0).ceil() / 4.0).exp2();
            match buckets.last_mut() {
                Some((last, count)) if *last >= bound => *count += cell.count_at_value(),
                _ => buckets.push((bound, cell.count_at_value())),
            }
        }
        let summary = LatencySummary::of(histogram);
        let us = |ns: u64| ns as f64 / 1e3;
        Self {
            name: latency.name(),
            count: summary.count,
            p50_us: us(summary.p50),
            p99_us: us(summary.p99),
            p99_9_us: us(summary.p99_9),
            max_us: us(summary.max),
            buckets,
        }
    }
}

/// A tier at a glance.
#[derive(Debug, Serialize)]
struct Tier {
    tier: &'static str,
    applied_hz: f64,
    ring_depth: u64,
    ring_capacity: u64,
    totals: TierTotals,
}

/// A thread at a glance.
#[derive(Debug, Serialize)]
struct Thread {
    thread: String,
    busy_ratio: f64,
    idle_ratio: f64,
    /// Share of its turns, or ticks, that left something behind because a ring was full or a budget used up.
    backpressure_ratio: f64,
}

/// The machine that the twin runs on.
#[derive(Debug, Serialize)]
struct Machine {
    cpu_model: &'static str,
    cores: usize,
    kernel: &'static str,
    memory_bytes: u64,
    load_1m: f64,
}

impl Machine {
    fn read() -> Self {
        static HOST: LazyLock<Host> = LazyLock::new(Host::read);
        let host = &*HOST;
        Self {
            cpu_model: &host.cpu_model,
            cores: host.cores,
            kernel: &host.kernel,
            memory_bytes: host.memory_bytes,
            load_1m: host::load_1m(),
        }
    }
}

/// A system of the tick.
#[derive(Debug, Serialize)]
struct System {
    system: &'static str,
    busy_ratio: f64,
    mean_us: f64,
    max_us: f64,
}

/// The tick at a glance.
#[derive(Debug, Serialize)]
struct Tick {
    number: u64,
    hz: f64,
    planned_hz: u32,
    overruns: u64,
    missed: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    jitter_p99_us: f64,
}

/// The plant at a glance.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    version: &'static str,
    revision: &'static str,
    at_unix_ms: f64,
    uptime_s: f64,
    /// `good`, `degraded` or `stopped`, with what is the matter.
    health: &'static str,
    reasons: Vec<String>,
    tick: Tick,
    tiers: Vec<Tier>,
    threads: Vec<Thread>,
    host: Machine,
    systems: Vec<System>,
    entities: u64,
    devices: usize,
    sensors: usize,
    actuators: usize,
    sessions: u64,
    residual: i64,
    age_p50_s: f64,
    age_p99_s: f64,
    worst_age_s: f64,
    worst: Option<Sensor>,
    odte_ratio: f64,
    crossings: u64,
    commands_acknowledged: u64,
    commands_failed: u64,
    stop: Stop,
    datagrams_hz: f64,
    bytes_hz: f64,
    rows_waiting: u64,
    viewers: u64,
    memory_bytes: u64,
    commands_allowed: &'static str,
}

impl Overview {
    pub(super) fn of(surface: &Surface) -> Self {
        let (mirror, sampler, stats) = (surface.mirror(), surface.sampler(), surface.stats());
        let (rates, ages, now_ns) = (sampler.rates(), sampler.ages(), surface.now_ns());
        let tiers = tiers(surface, rates.applied_hz);
        let residual = tiers.iter().map(|tier| tier.totals.residual).sum();
        let (stop, tick) = (Stop::of(surface), tick(surface, rates.tick_stands));
        let reasons = reasons(surface, &sampler, &tick, &tiers);
        let to_device = stats.commands(Direction::ToDevice);
        Self {
            version: host::VERSION,
            revision: host::REVISION,
            at_unix_ms: now_ns as f64 / 1e6,
            uptime_s: surface.elapsed_ns() as f64 / 1e9,
            health: match (stop.stopped, reasons.is_empty()) {
                (true, _) => "stopped",
                (false, true) => "good",
                (false, false) => "degraded",
            },
            reasons,
            tick,
            tiers,
            threads: threads(surface, rates),
            host: Machine::read(),
            systems: systems(surface, &rates.systems_busy),
            entities: stats.tick.entities.value(),
            devices: mirror.devices().len(),
            sensors: mirror.sensors().len(),
            actuators: mirror.actuators().len(),
            sessions: stats.worker().sessions_open(),
            residual,
            age_p50_s: ages.p50_s,
            age_p99_s: ages.p99_s,
            worst_age_s: ages.worst_s,
            worst: ages.worst.and_then(|row| mirror.number(row)).map(|n| Sensor::of(&mirror, n)),
            odte_ratio: sampler.odte(),
            crossings: stats.crossings.iter().flatten().map(crate::stats::Counter::value).sum(),
            commands_acknowledged: to_device.acknowledged.value(),
            commands_failed: [&to_device.rejected, &to_device.reset, &to_device.expired]
                .iter()
                .map(|counter| counter.value())
                .sum(),
            stop,
            datagrams_hz: rates.datagrams_hz,
            bytes_hz: rates.bytes_hz,
            rows_waiting: mirror.rows_waiting(),
            viewers: surface.live().viewers(),
            memory_bytes: surface.rss_bytes(),
            commands_allowed: surface.policy().commands.name(),
        }
    }
}

fn tiers(surface: &Surface, applied_hz: [f64; 3]) -> Vec<Tier> {
    let tiers = ["t1", "t2", "t3"].into_iter().zip(&surface.stats().tiers).zip(applied_hz);
    let tiers = tiers.map(|((tier, stats), applied_hz)| Tier {
        tier,
        applied_hz,
        ring_depth: stats.ingress.ring_depth.value(),
        ring_capacity: stats.ingress.ring_capacity.value(),
        totals: stats.totals(),
    });
    tiers.collect()
}

fn tick(surface: &Surface, tick_stands: bool) -> Tick {
    let (report, tick) = (surface.report(), &surface.stats().tick);
    let duration = LatencySummary::of(report.total(Latency::TickDuration));
    let jitter = LatencySummary::of(report.total(Latency::TickJitter));
    let us = |ns: u64| ns as f64 / 1e3;
    Tick {
        number: tick.ticks.value(),
        hz: if tick_stands { 0.0 } else { tick.rate_hz.value() },
        planned_hz: surface.options().hz,
        overruns: tick.overruns.value(),
        missed: tick.missed.value(),
        p50_us: us(duration.p50),
        p99_us: us(duration.p99),
        max_us: us(duration.max),
        jitter_p99_us: us(jitter.p99),
    }
}

fn threads(surface: &Surface, rates: &crate::rates::Rates) -> Vec<Thread> {
    // Before the first second is over, nothing is known of their time.
    let of = |ratios: &[f64], index: usize| ratios.get(index).copied().unwrap_or(0.0);
    let workers = (0..surface.stats().workers().len()).map(|index| {
        let ratios = (of(&rates.workers_busy, index), of(&rates.workers_pressed, index));
        (format!("net-{index}"), ratios)
    });
    let threads = workers.chain([("tick".to_owned(), (rates.tick_busy, rates.tick_pressed))]);
    let thread = |(thread, (busy_ratio, backpressure_ratio))| Thread {
        thread,
        busy_ratio,
        idle_ratio: 1.0 - busy_ratio,
        backpressure_ratio,
    };
    threads.map(thread).collect()
}

fn systems(surface: &Surface, busy: &[f64]) -> Vec<System> {
    let systems = SYSTEMS.into_iter().zip(&surface.stats().systems).zip(busy);
    let systems = systems.map(|((system, times), &busy_ratio)| System {
        system,
        busy_ratio,
        mean_us: times.total_ns.value() as f64 / times.runs.value().max(1) as f64 / 1e3,
        max_us: times.max_ns.value() as f64 / 1e3,
    });
    systems.collect()
}

/// What an operator should look at, in words.
fn reasons(surface: &Surface, sampler: &Sampler, tick: &Tick, tiers: &[Tier]) -> Vec<String> {
    let mut reasons = Vec::new();
    if !surface.is_alive() {
        reasons.push("the tick stands still".to_owned());
    } else if tick.hz > 0.0 && tick.hz < f64::from(tick.planned_hz) * 0.95 {
        reasons.push(format!("{:.0} of {} ticks a second run", tick.hz, tick.planned_hz));
    }
    for tier in tiers.iter().filter(|tier| tier.ring_depth * 2 > tier.ring_capacity) {
        reasons.push(format!("the ring of {} holds more than half of its capacity", tier.tier));
    }
    let ahead_s =
        sampler.clock(surface.stats().rtt_min_ns()).map_or(0.0, |(ahead, off)| ahead - off);
    if ahead_s > CLOCK_AHEAD_S {
        reasons.push(format!("the clock of a device is {ahead_s:.1} s ahead of the twin's"));
    }
    let identity = &surface.stats().identity;
    let now_s = surface.now_ns() / 1_000_000_000;
    for (name, from, until) in [
        ("tls.cert", &identity.server_not_before_s, &identity.server_not_after_s),
        ("tls.ca", &identity.authority_not_before_s, &identity.authority_not_after_s),
    ] {
        // Without a date there is no such certificate.
        if until.value() > 0 && !(from.value()..=until.value()).contains(&now_s) {
            reasons.push(format!("{name} is not valid by the date of this host's clock"));
        }
    }
    if !sampler.is_timely() {
        reasons.push("no timely values".to_owned());
    }
    reasons
}

/// The device of this name, or a sentence that there is none.
pub(super) fn parse_device(text: &str) -> Option<DeviceId> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::picture::{ShownName, ShownRow, pictures};
    use crate::report::Report;
    use crate::stats::TwinStats;
    use crate::world::{RowRef, SensorKey};

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_plant_whose_sensors_are_all_silent_is_not_good() {
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        let surface = Surface::new(Arc::new(TwinStats::new(1)), report, || 0);
        let reasons_at = |second: u64| {
            let at = Duration::from_secs(second);
            surface.stats().ages.rounds.add(1);
            surface.sampler().look(surface.stats(), at, 1000);
            reasons(&surface, &surface.sampler(), &tick(&surface, false), &[])
        };
        assert!((1..30).all(|second| reasons_at(second).is_empty()), "there is no sensor");
        surface.stats().ages.sensors.set(3);
        assert!((30..39).all(|second| reasons_at(second).is_empty()), "not yet for long");
        assert_eq!(reasons_at(39), ["no timely values"]);
        surface.stats().ages.timely.set(1);
        assert!(reasons_at(40).is_empty());
    }

    /// A mirror of one sensor that was shown two seconds before the latest picture, in a plant whose rows are so far behind.
    fn mirror(rows_lag_ns: u64) -> Mirror {
        let (mut producer, mut looks) = pictures();
        let (row, device) = (RowRef::sensor(SensorType::Voltage, 0), DeviceId([7; 16]));
        let picture = producer.current();
        (picture.begins, picture.rows_lag_ns) = (true, rows_lag_ns);
        let sensor_type = SensorType::Voltage as u8;
        let key = SensorKey { device, sensor_id: 3, sensor_type, zero: 0 };
        picture.names.push(ShownName { row, key });
        let (ts_us, recv_ns) = (9_900_000, 9_950 * S / 1000);
        picture.rows.push(ShownRow { row, smoothed: 1.0, value: 1.0, ts_us, recv_ns, level: 0 });
        let mut mirror = Mirror::default();
        for (tick, at_ns) in [(1, 10 * S), (2, 12 * S)] {
            producer.current().rows_lag_ns = rows_lag_ns;
            assert!(producer.swap(tick, at_ns));
            mirror.apply(&looks.poll().expect("a picture was handed over"));
        }
        mirror
    }

    #[test]
    fn a_device_whose_clock_is_ahead_is_a_reason_why_health_is_not_good() {
        let stats = Arc::new(TwinStats::new(1));
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        let surface = Surface::new(Arc::clone(&stats), report, || 0);
        stats.workers()[0].rtt_min_ns.set(2_000_000);
        stats.ages.fresh.set(1);
        for (ahead_ms, reasons) in [
            (900, vec![]),
            (3_600_000, vec!["the clock of a device is 3600.0 s ahead of the twin's"]),
        ] {
            stats.ages.quickest_ns.set((-ahead_ms * 1_000_000_i64) as u64);
            surface.sampler().look(&stats, Duration::from_secs(1), 1000);
            assert_eq!(Overview::of(&surface).reasons, reasons);
        }
    }

    #[test]
    fn the_age_of_a_sensor_that_waits_for_its_turn_is_that_of_when_it_was_shown() {
        for (rows_lag_ns, age_s) in [(0, 2.1), (3 * S, 0.1)] {
            let mirror = mirror(rows_lag_ns);
            assert_eq!(Sensor::of(&mirror, 0).age_s, Some(age_s), "{rows_lag_ns}");
            let device = Device::of(&mirror, &mirror.devices()[0]);
            assert_eq!(device.worst_age_s, Some(age_s), "{rows_lag_ns}");
        }
    }

    #[test]
    fn a_sensor_that_was_last_heard_before_our_clock_was_set_back_does_not_look_fresh() {
        let (mut producer, mut looks) = pictures();
        let mut mirror = mirror(3 * S);
        assert!(producer.swap(3, 4 * S));
        mirror.apply(&looks.poll().expect("a picture was handed over"));
        assert_eq!(Sensor::of(&mirror, 0).age_s, Some(5.9));
    }
}
