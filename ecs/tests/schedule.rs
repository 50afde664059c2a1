//! Order, rate and statistics of the schedule, with a clock that the test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ecs::Schedule;

/// What ran, as (tick, name).
#[derive(Default)]
struct Trace {
    tick: u64,
    ran: Vec<(u64, &'static str)>,
}

fn note(name: &'static str) -> impl FnMut(&mut Trace) + Send {
    move |trace| trace.ran.push((trace.tick, name))
}

fn run_ticks(schedule: &mut Schedule<Trace>, ticks: std::ops::RangeInclusive<u64>) -> Trace {
    let mut trace = Trace::default();
    for tick in ticks {
        trace.tick = tick;
        schedule.run(&mut trace, tick, &mut || 0);
    }
    trace
}

#[test]
fn systems_run_in_the_order_of_registration() {
    let mut schedule = Schedule::new();
    for name in ["ingest", "simulate", "export", "diagnose"] {
        schedule.add(name, note(name));
    }
    let trace = run_ticks(&mut schedule, 7..=7);
    assert_eq!(trace.ran, [(7, "ingest"), (7, "simulate"), (7, "export"), (7, "diagnose")]);
}

#[test]
fn divided_system_runs_at_multiples_only_and_keeps_its_place() {
    let mut schedule = Schedule::new();
    schedule.add("first", note("first")).every(2);
    schedule.add("second", note("second"));
    schedule.add("third", note("third")).every(3);
    let trace = run_ticks(&mut schedule, 0..=4);
    let expected = [
        (0, "first"),
        (0, "second"),
        (0, "third"),
        (1, "second"),
        (2, "first"),
        (2, "second"),
        (3, "second"),
        (3, "third"),
        (4, "first"),
        (4, "second"),
    ];
    assert_eq!(trace.ran, expected);
}

#[test]
fn system_keeps_what_it_owns_from_run_to_run() {
    let mut schedule = Schedule::new();
    let mut previous = 0;
    schedule.add("difference", move |state: &mut (u64, u64)| {
        state.1 = state.0 - previous;
        previous = state.0;
    });
    let mut state = (10, 0);
    schedule.run(&mut state, 1, &mut || 0);
    state.0 = 25;
    schedule.run(&mut state, 2, &mut || 0);
    assert_eq!(state, (25, 15));
}

#[test]
fn time_is_charged_to_the_system_that_spent_it() {
    let now_ns = Arc::new(AtomicU64::new(1_000));
    let spend = |durations_ns: &'static [u64]| {
        let now_ns = Arc::clone(&now_ns);
        let mut durations_ns = durations_ns.iter();
        move |_: &mut ()| {
            let took_ns = durations_ns.next().copied().unwrap_or(0);
            now_ns.fetch_add(took_ns, Ordering::Relaxed);
        }
    };
    let mut schedule = Schedule::new();
    schedule.add("quick", spend(&[5, 7]));
    schedule.add("rare", spend(&[100])).every(2);
    schedule.add("slow", spend(&[90, 40]));

    let mut clock = || now_ns.load(Ordering::Relaxed);
    schedule.run(&mut (), 1, &mut clock);
    schedule.run(&mut (), 2, &mut clock);

    let times: Vec<_> = schedule
        .systems()
        .iter()
        .map(|system| (system.name(), system.runs(), system.total_ns(), system.max_ns()))
        .collect();
    assert_eq!(times, [("quick", 2, 12, 7), ("rare", 1, 100, 100), ("slow", 2, 130, 90)]);

    schedule.reset_times();
    assert!(schedule.systems().iter().all(|s| (s.runs(), s.total_ns(), s.max_ns()) == (0, 0, 0)));
    assert_eq!(schedule.systems()[1].every_ticks(), 2);
}

#[test]
fn clock_is_read_once_before_and_once_after_each_due_system() {
    let mut schedule = Schedule::new();
    schedule.add("a", |_: &mut ()| ());
    schedule.add("b", |_: &mut ()| ()).every(5);
    schedule.add("c", |_: &mut ()| ());
    let mut reads = 0;
    schedule.run(&mut (), 1, &mut || {
        reads += 1;
        reads
    });
    assert_eq!(reads, 3);
}

#[test]
fn clock_that_runs_backwards_charges_nothing() {
    let mut schedule = Schedule::new();
    schedule.add("system", |_: &mut ()| ());
    let mut readings = [50, 20].into_iter();
    schedule.run(&mut (), 1, &mut || readings.next().unwrap());
    assert_eq!((schedule.systems()[0].runs(), schedule.systems()[0].total_ns()), (1, 0));
}

#[test]
fn text_is_one_line_a_system_below_its_header() {
    let mut schedule = Schedule::new();
    schedule.add("ingest", |_: &mut ()| ());
    schedule.add("watchdogs", |_: &mut ()| ()).every(300);
    let mut now_ns = 0;
    for tick in 1..=2 {
        schedule.run(&mut (), tick, &mut || {
            now_ns += 40;
            now_ns
        });
    }
    let expected = "\
system     every         runs      mean_ns       max_ns
ingest         1            2           40           40
watchdogs    300            0            0            0
";
    assert_eq!(schedule.to_string(), expected);
}

#[test]
#[should_panic(expected = "a system named `ingest` is already in the schedule")]
fn second_system_of_a_name_is_refused() {
    let mut schedule = Schedule::new();
    schedule.add("ingest", |_: &mut ()| ());
    schedule.add("ingest", |_: &mut ()| ());
}

#[test]
#[should_panic(expected = "system `log` cannot run every 0 ticks")]
fn rate_of_zero_ticks_is_refused() {
    Schedule::new().add("log", |_: &mut ()| ()).every(0);
}
