//! The tick allocates nothing once the plant is known: a counting allocator watches ten thousand ticks.
//!
//! One test alone in its binary, so that no other thread allocates meanwhile; the count is of this thread only.

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use netloop::slot::ACK;
use netloop::{Outbound, Slot};
use rig::{Rig, options, record};
use twin::picture::pictures;
use twin::world::{ACTUATOR_ID, Limits, Rule, Watch, WorldOptions};
use wire::{Command, SensorType, Status, Tier};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged, which keeps its contract; counting touches a `Cell` of
// this thread that is initialised at compile time and has no destructor, so it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, because `alloc` and `realloc` take it from there.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as for `dealloc`, and the caller's promise about `bytes` is passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

const SESSIONS: u32 = 8;
const SENSORS: u16 = 25;

/// A tick's worth of everything: both tiers, a duplicate, a gap, a crossing, a read, and an acknowledged command.
fn feed(rig: &mut Rig, tick: u32) {
    for session in 0..SESSIONS {
        for sensor_id in 0..SENSORS {
            let value = if (tick / 50).is_multiple_of(2) { 20.0 } else { 90.0 };
            let record = record(session, sensor_id, tick * 2, value);
            rig.receive(Tier::T1, session, 0, &record);
            if sensor_id % 5 == 0 {
                rig.receive(Tier::T1, session, 0, &record);
                rig.receive(Tier::T2, session, 0, &record);
            }
        }
    }
    let read = Slot { session: 1, hint: tick, ..rig.slot(&record(1, 1, tick, 0.0)) };
    rig.push(Tier::T3, read);
    while let Some(outbound) = rig.port.outbound.pop() {
        if let Outbound::Command { session, request, tag } = outbound {
            let ack = Command::ack(request, Status::Ok, request.value());
            let end = Slot { flags: ACK, hint: tag, session: session.0, ..rig.slot(&ack) };
            rig.port.t3.push(end).expect("the last tick emptied the ring");
        }
    }
}

#[test]
fn ten_thousand_ticks_allocate_nothing() {
    let rule = Rule {
        sensor_type: SensorType::Temperature,
        above: 70.0,
        actuator_id: ACTUATOR_ID,
        setpoint: 20.0,
    };
    let limits = [Limits::new(80.0, 0.0, 2.0); SensorType::COUNT];
    let mut rig = Rig::new(WorldOptions { rules: vec![rule], limits, ..options() });
    let (producer, mut looks) = pictures();
    looks.want(true);
    rig.world.attach(Watch::new(producer, 1000, SESSIONS as usize));
    for session in 0..SESSIONS {
        rig.open(session);
        rig.hello(session, 0);
    }
    // With the capture on: what it takes is copied into memory that was there before.
    let (tap, mut captured) = twin::capture::tap(1 << 14, std::sync::Arc::clone(&rig.stats));
    rig.lanes.tap = Some(tap);
    let (mut counted, mut shown) = (0, 0);
    for tick in 0..10_200 {
        feed(&mut rig, tick);
        let before = allocations();
        rig.tick();
        if tick.is_multiple_of(1000) {
            let at_ns = u64::from(tick) * rig::TICK_NS;
            rig.producer.swap(rig.world.interval_mut(), at_ns);
        }
        if tick >= 200 {
            counted += allocations() - before;
        }
        while let Some(interval) = rig.consumer.poll() {
            rig.consumer.recycle(interval);
        }
        while let Some(picture) = looks.poll() {
            shown += picture.rows.len() + picture.crossings.len();
            looks.recycle(picture);
        }
        captured.pop_chunk(1 << 14, |_, _| {});
    }
    assert_eq!(counted, 0);
    assert!(shown > 200_000, "rows were shown meanwhile: {shown}");
    let capture = &rig.stats.capture;
    assert_eq!((capture.ticks.value(), capture.shed_ticks.value()), (10_200, 0));
    assert!(allocations() > 0, "the allocator counts");
    let totals = rig.totals(Tier::T1);
    assert_eq!(totals.residual, 0);
    assert!(totals.applied > 2_000_000 && totals.duplicate > 400_000, "{totals:?}");
    let ends = rig.world.command_ends();
    assert!(ends.acknowledged >= u64::from(SESSIONS), "{ends:?}");
    assert!(rig.world.crossing_counts(SensorType::Temperature)[0] > 10_000);
}
