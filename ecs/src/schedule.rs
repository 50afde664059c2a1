//! The schedule: which systems run, in which order, and which of them may run side by side.
//!
//! The order is part of the program, never of the load. Systems that touch nothing in common share a stage; of two that
//! do, the one that was added first runs first, and the schedule must say that this is meant: by [`System::after`], or by
//! [`ScheduleBuilder::accept_order`]. Otherwise it is not built. An exclusive system is a stage of its own, between all that
//! were added before and all that were added after. One thread or many, the world is the same, bit for bit. A panic of a
//! system ends the run; the world stays whole, and commands that were not applied are dropped.
//!
//! Time is an argument here too: a clock is only read for the statistics, once before the first system, once after each,
//! and once after the commands of a stage. A run on one thread allocates nothing of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::commands::{CommandBuffer, apply_stage};
use crate::component::Signature;
use crate::parallel::map_in_order;
use crate::system::{Body, Context, System, SystemFn, Times};
use crate::world::{Share, World};

/// Why a schedule was not built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Two systems have one name, so that their times could not be told apart.
    #[error("two systems are named `{0}`")]
    Name(&'static str),
    /// A system is to run after one that was not added before it.
    #[error("system `{system}` is to run after `{after}`, which was not added before it")]
    After {
        /// The system.
        system: &'static str,
        /// The one that it names.
        after: &'static str,
    },
    /// Two systems touch the same thing, one of them writes it, and nothing says which comes first.
    #[error(
        "`{first}` and `{second}` both touch {on}; say `after`, or accept the order of registration"
    )]
    Ambiguous {
        /// The system that was added first.
        first: &'static str,
        /// The one that was added later.
        second: &'static str,
        /// The component or resource.
        on: String,
    },
}

/// Systems in the order of their registration.
pub struct ScheduleBuilder<C: Context = ()> {
    systems: Vec<System<C>>,
    order_accepted: bool,
}

/// Systems in stages, ready to run.
///
/// ```
/// # use bytemuck::{Pod, Zeroable};
/// # use ecs::{Component, Part, Query, ScheduleBuilder, World};
/// # #[repr(C)]
/// # #[derive(Clone, Copy, Pod, Zeroable)]
/// # struct Level(f32);
/// # impl Component for Level {
/// #     const ID: u16 = 1;
/// #     const NAME: &'static str = "Level";
/// # }
/// # #[repr(C)]
/// # #[derive(Clone, Copy, Pod, Zeroable)]
/// # struct Inflow(f32);
/// # impl Component for Inflow {
/// #     const ID: u16 = 2;
/// #     const NAME: &'static str = "Inflow";
/// # }
/// fn fill(part: &mut Part<'_>, tanks: &mut Query<(&mut Level, &Inflow)>) {
///     tanks.each(part, |(level, inflow)| level.0 += inflow.0);
/// }
///
/// fn drain(part: &mut Part<'_>, tanks: &mut Query<(&mut Level,)>) {
///     tanks.each(part, |(level,)| level.0 = level.0.min(2.0));
/// }
///
/// let mut builder = ScheduleBuilder::<()>::new();
/// builder.add("fill", fill);
/// builder.add("drain", drain).after("fill").every(2);
/// let mut schedule = builder.build()?;
///
/// let mut world = World::new();
/// let tank = world.spawn((Level(0.0), Inflow(1.5)));
/// for tick in 1..=4 {
///     schedule.run(&mut world, &mut (), tick);
/// }
/// assert_eq!(world.component::<Level>(tank).map(|level| level.0), Some(2.0));
/// # Ok::<(), ecs::ScheduleError>(())
/// ```
pub struct Schedule<C: Context = ()> {
    /// Stage by stage.
    systems: Vec<System<C>>,
    /// Of the commands: a run for each stage that has given some.
    command_times: Times,
    /// Whether a run has begun and not ended.
    running: bool,
}

impl<C: Context> Default for ScheduleBuilder<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Context> ScheduleBuilder<C> {
    /// No system yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { systems: Vec::new(), order_accepted: false }
    }

    /// Adds a system that runs at every tick.
    pub fn add<P>(&mut self, name: &'static str, system: impl SystemFn<P>) -> &mut System<C> {
        let accesses = system.accesses();
        self.systems.push_mut(System::new(name, Body::Part(system.into_body()), &accesses))
    }

    /// Adds a system that has the whole world to itself, and the context of the run.
    pub fn add_exclusive(
        &mut self,
        name: &'static str,
        system: impl for<'a, 'b> FnMut(&'b mut World, &'b mut C::Of<'a>) + Send + 'static,
    ) -> &mut System<C> {
        self.systems.push_mut(System::new(name, Body::Exclusive(Box::new(system)), &[]))
    }

    /// Accepts the order of registration wherever two systems touch the same thing.
    pub fn accept_order(&mut self) -> &mut Self {
        self.order_accepted = true;
        self
    }

    /// Puts the systems into stages.
    ///
    /// # Errors
    /// [`ScheduleError`]: names that are taken, unknown names, an order that nobody has asked for.
    pub fn build(self) -> Result<Schedule<C>, ScheduleError> {
        let levels = self.levels()?;
        let mut systems = self.systems;
        for (system, stage) in systems.iter_mut().zip(levels) {
            system.stage = stage;
        }
        systems.sort_by_key(|system| system.stage);
        for stage in systems.chunk_by_mut(|one, other| one.stage == other.stage) {
            let turns = stage.len();
            for (turn, system) in stage.iter_mut().enumerate() {
                system.buffer = CommandBuffer::of_turn(turn, turns);
            }
        }
        Ok(Schedule { systems, command_times: Times::default(), running: false })
    }

    /// The stage of each system: behind everything that it has to wait for.
    fn levels(&self) -> Result<Vec<usize>, ScheduleError> {
        let mut levels: Vec<usize> = Vec::with_capacity(self.systems.len());
        // For each system, those that certainly ran before it.
        let mut before: Vec<BTreeSet<usize>> = Vec::with_capacity(self.systems.len());
        let mut barrier = 0;
        for (at, system) in self.systems.iter().enumerate() {
            let earlier = &self.systems[..at];
            if earlier.iter().any(|earlier| earlier.name == system.name) {
                return Err(ScheduleError::Name(system.name));
            }
            let mut ran = self.stated(at, &before)?;
            ran.extend(0..barrier);
            if system.is_exclusive() {
                ran.extend(0..at);
                barrier = at + 1;
            }
            for (first, other) in earlier.iter().enumerate() {
                let conflict = if ran.contains(&first) { None } else { other.conflict(system) };
                let Some(on) = conflict else { continue };
                if !self.order_accepted {
                    let (first, second) = (other.name, system.name);
                    return Err(ScheduleError::Ambiguous { first, second, on });
                }
                ran.insert(first);
            }
            levels.push(ran.iter().map(|&first| levels[first] + 1).max().unwrap_or(0));
            before.push(ran);
        }
        Ok(levels)
    }

    /// The systems that system `at` is said to follow, and those that these follow.
    fn stated(
        &self,
        at: usize,
        before: &[BTreeSet<usize>],
    ) -> Result<BTreeSet<usize>, ScheduleError> {
        let system = &self.systems[at];
        let mut ran = BTreeSet::new();
        for &after in &system.after {
            let first = self.systems[..at].iter().position(|earlier| earlier.name == after);
            let first = first.ok_or(ScheduleError::After { system: system.name, after })?;
            ran.insert(first);
            ran.extend(&before[first]);
        }
        Ok(ran)
    }
}

impl<C: Context> Schedule<C> {
    /// Runs each system that is due at `tick`, on this thread.
    pub fn run(&mut self, world: &mut World, context: &mut C::Of<'_>, tick: u64) {
        self.run_timed(world, context, tick, |_| 0);
    }

    /// As [`Schedule::run`], and keeps the time of each system. `clock` returns nanoseconds since any fixed moment.
    #[inline]
    pub fn run_timed<'c>(
        &mut self,
        world: &mut World,
        context: &mut C::Of<'c>,
        tick: u64,
        mut clock: impl FnMut(&mut C::Of<'c>) -> u64,
    ) {
        self.begin();
        let mut start_ns = clock(context);
        let mut commanded = false;
        for at in 0..self.systems.len() {
            let system = &mut self.systems[at];
            if system.is_due(tick) {
                run_system(system, world, context);
                commanded |= !system.buffer.is_empty();
                let end_ns = clock(context);
                system.times.account(end_ns.saturating_sub(start_ns));
                start_ns = end_ns;
            }
            if commanded && self.systems[at].buffer.is_last() {
                commanded = false;
                self.apply_stage_of(world, at);
                let end_ns = clock(context);
                self.command_times.account(end_ns.saturating_sub(start_ns));
                start_ns = end_ns;
            }
        }
        self.running = false;
    }

    /// Does what the stage has commanded that ends with system `last`.
    #[cold]
    fn apply_stage_of(&mut self, world: &mut World, last: usize) {
        let first = last - self.systems[last].buffer.turn();
        apply_stage(world, &mut self.systems[first..=last]);
    }

    /// Runs each system that is due at `tick`; those of a stage run side by side on up to `threads` threads, of which the
    /// caller is one. The world comes out as from [`Schedule::run`], bit for bit.
    ///
    /// The threads of a stage are started for it and end with it, which costs some ten microseconds each: worth it where
    /// systems take more than a hundred. A stage with one system starts none. `clock` is as in [`Schedule::run_timed`].
    pub fn run_parallel(
        &mut self,
        world: &mut World,
        context: &mut C::Of<'_>,
        tick: u64,
        threads: usize,
        clock: &(impl Fn() -> u64 + Sync),
    ) {
        self.begin();
        for stage in self.systems.chunk_by_mut(|one, other| one.stage == other.stage) {
            let mut due: Vec<_> = stage.iter_mut().filter(|system| system.is_due(tick)).collect();
            if let [system] = &mut due[..] {
                let start_ns = clock();
                run_system(system, world, context);
                system.times.account(clock().saturating_sub(start_ns));
            } else {
                run_side_by_side(due, world, threads, clock);
            }
            if stage.iter().any(|system| !system.buffer.is_empty()) {
                let start_ns = clock();
                apply_stage(world, stage);
                self.command_times.account(clock().saturating_sub(start_ns));
            }
        }
        self.running = false;
    }

    /// Begins a run: drops the commands of one that a panic has ended, because the names that they mean may belong to others
    /// by now.
    #[inline]
    fn begin(&mut self) {
        if std::mem::replace(&mut self.running, true) {
            self.systems.iter_mut().for_each(|system| system.buffer.clear());
        }
    }

    /// The systems, in the order in which one thread runs them.
    #[must_use]
    pub fn systems(&self) -> &[System<C>] {
        &self.systems
    }

    /// What applying the commands of a stage took, for each stage that gave some. No system is charged with it.
    #[must_use]
    pub const fn command_times(&self) -> Times {
        self.command_times
    }

    /// Forgets the times and the run counts: what a measurement does after its warm-up.
    pub fn reset_times(&mut self) {
        self.command_times = Times::default();
        self.systems.iter_mut().for_each(|system| system.times = Times::default());
    }
}

/// Runs one system on all of the world.
#[inline]
fn run_system<C: Context>(system: &mut System<C>, world: &mut World, context: &mut C::Of<'_>) {
    let System { body, grant, resources, buffer, .. } = system;
    match body {
        Body::Exclusive(body) => body(world, context),
        Body::Part(body) => body(&mut world.part(grant, resources, buffer)),
    }
}

/// Runs the systems of one stage, each on its own part of the world. If one panics, the world is whole before the panic goes
/// on.
fn run_side_by_side<C: Context>(
    systems: Vec<&mut System<C>>,
    world: &mut World,
    threads: usize,
    clock: &(impl Fn() -> u64 + Sync),
) {
    let share = |system: &&mut System<C>| world.check_out(&system.grant, &system.resources);
    let mut shares: Vec<Share> = systems.iter().map(share).collect();
    let run = |(system, share): (&mut System<C>, &mut Share)| {
        let System { body, grant, resources, buffer, .. } = &mut *system;
        let Body::Part(body) = body else {
            unreachable!("an exclusive system is alone in its stage")
        };
        let start_ns = clock();
        body(&mut world.part_of(share, grant, resources, buffer));
        system.times.account(clock().saturating_sub(start_ns));
    };
    let jobs = systems.into_iter().zip(&mut shares).collect();
    let done = catch_unwind(AssertUnwindSafe(|| map_in_order(jobs, threads, run, |()| ())));
    world.check_in(shares);
    done.unwrap_or_else(|panic| resume_unwind(panic));
}

/// A table: one line a system, stage by stage, with what it touches and its times in nanoseconds, and a last line for the
/// commands.
impl<C: Context> fmt::Display for Schedule<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.systems.iter().map(|system| system.name.len()).fold(8, usize::max);
        writeln!(
            f,
            "{:5} {:width$} {:>6} {:>10} {:>10} {:>10}  touches",
            "stage", "system", "every", "runs", "mean_ns", "max_ns"
        )?;
        for system in &self.systems {
            write!(f, "{:5} {:width$} {:>6}", system.stage, system.name, system.every_ticks)?;
            writeln!(f, "{}  {}", Columns(system.times), Touches(system))?;
        }
        let commands = Columns(self.command_times);
        writeln!(f, "{:5} {:width$} {:>6}{commands}", "", "commands", "")
    }
}

/// The times in columns of the table.
struct Columns(Times);

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times { runs, total_ns, max_ns } = self.0;
        let mean_ns = total_ns.checked_div(runs).unwrap_or(0);
        write!(f, " {runs:>10} {mean_ns:>10} {max_ns:>10}")
    }
}

/// What a system reads and writes, for people.
struct Touches<'a, C: Context>(&'a System<C>);

impl<C: Context> fmt::Display for Touches<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(system) = self;
        if system.is_exclusive() {
            return f.write_str("everything");
        }
        let reads = system.grant.reads.difference(system.grant.writes);
        let lists = [
            ("reads", reads, &system.resources.reads),
            ("writes", system.grant.writes, &system.resources.writes),
        ];
        let mut separator = "";
        for (verb, set, resources) in lists {
            if set == Signature::EMPTY && resources.is_empty() {
                continue;
            }
            write!(f, "{separator}{verb} {}", system.list(set))?;
            resources.iter().try_for_each(|(_, name)| write!(f, " {name}"))?;
            separator = ", ";
        }
        Ok(())
    }
}

impl<C: Context> fmt::Debug for Schedule<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.systems).finish()
    }
}
