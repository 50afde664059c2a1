//! The schedule: systems in the order of their registration, each at every tick or at every n-th.
//!
//! The order is part of the program, never of the load: the same ticks run the same systems in the same order. What the
//! systems share is the one state that they are given. Time is an argument here too: the clock is only read for the
//! statistics, once before the first system and once after each. A run allocates nothing.

use std::fmt;

/// Systems over a state `S`, run one after the other.
///
/// ```
/// let mut schedule = ecs::Schedule::new();
/// schedule.add("count", |count: &mut u64| *count += 1);
/// schedule.add("reset", |count: &mut u64| *count = 0).every(3);
///
/// let mut count = 0;
/// for tick in 1..=5 {
///     schedule.run(&mut count, tick, &mut || 0);
/// }
/// assert_eq!(count, 2);
/// ```
pub struct Schedule<S> {
    systems: Vec<System<S>>,
}

/// One system of a schedule, and how long its runs took.
pub struct System<S> {
    name: &'static str,
    body: Box<dyn FnMut(&mut S) + Send>,
    every_ticks: u64,
    runs: u64,
    total_ns: u64,
    max_ns: u64,
}

impl<S> Schedule<S> {
    /// A schedule without systems.
    #[must_use]
    pub const fn new() -> Self {
        Self { systems: Vec::new() }
    }

    /// Appends a system that runs at every tick, after those already there.
    ///
    /// # Panics
    /// Another system has this name, so that their statistics could not be told apart.
    pub fn add(
        &mut self,
        name: &'static str,
        body: impl FnMut(&mut S) + Send + 'static,
    ) -> &mut System<S> {
        assert!(
            self.systems.iter().all(|system| system.name != name),
            "a system named `{name}` is already in the schedule"
        );
        self.systems.push_mut(System {
            name,
            body: Box::new(body),
            every_ticks: 1,
            runs: 0,
            total_ns: 0,
            max_ns: 0,
        })
    }

    /// Runs each system that is due at `tick`, in order. `clock` returns nanoseconds since any fixed moment.
    pub fn run(&mut self, state: &mut S, tick: u64, clock: &mut dyn FnMut() -> u64) {
        let mut start_ns = clock();
        for system in &mut self.systems {
            if tick.is_multiple_of(system.every_ticks) {
                (system.body)(state);
                let end_ns = clock();
                system.account(end_ns.saturating_sub(start_ns));
                start_ns = end_ns;
            }
        }
    }

    /// The systems, in the order in which they run.
    #[must_use]
    pub fn systems(&self) -> &[System<S>] {
        &self.systems
    }

    /// Forgets the times and the run counts: what a measurement does after its warm-up.
    pub fn reset_times(&mut self) {
        for system in &mut self.systems {
            (system.runs, system.total_ns, system.max_ns) = (0, 0, 0);
        }
    }
}

impl<S> System<S> {
    /// Makes the system run only at ticks that are multiples of `ticks`.
    ///
    /// # Panics
    /// `ticks` is 0.
    pub fn every(&mut self, ticks: u64) -> &mut Self {
        assert!(ticks > 0, "system `{}` cannot run every 0 ticks", self.name);
        self.every_ticks = ticks;
        self
    }

    /// The name that it was added under.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Ticks from one run to the next.
    #[must_use]
    pub const fn every_ticks(&self) -> u64 {
        self.every_ticks
    }

    /// Runs since the start or the last reset.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// Time of all those runs, in nanoseconds.
    #[must_use]
    pub const fn total_ns(&self) -> u64 {
        self.total_ns
    }

    /// Time of the longest of them, in nanoseconds.
    #[must_use]
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    fn account(&mut self, took_ns: u64) {
        self.runs += 1;
        self.total_ns = self.total_ns.saturating_add(took_ns);
        self.max_ns = self.max_ns.max(took_ns);
    }
}

impl<S> Default for Schedule<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// A table: one line a system, in running order, times in nanoseconds.
impl<S> fmt::Display for Schedule<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.systems.iter().map(|system| system.name.len()).fold(6, usize::max);
        writeln!(
            f,
            "{:width$} {:>6} {:>12} {:>12} {:>12}",
            "system", "every", "runs", "mean_ns", "max_ns"
        )?;
        for system in &self.systems {
            let mean_ns = system.total_ns.checked_div(system.runs).unwrap_or(0);
            writeln!(
                f,
                "{:width$} {:>6} {:>12} {:>12} {:>12}",
                system.name, system.every_ticks, system.runs, mean_ns, system.max_ns
            )?;
        }
        Ok(())
    }
}

impl<S> fmt::Debug for Schedule<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.systems).finish()
    }
}

impl<S> fmt::Debug for System<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.name)
            .field("every_ticks", &self.every_ticks)
            .field("runs", &self.runs)
            .field("total_ns", &self.total_ns)
            .field("max_ns", &self.max_ns)
            .finish_non_exhaustive()
    }
}
