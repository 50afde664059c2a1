//! The cases by name, and what an adapter says of its library.

/// Every case, in the order of the tables. All are times but `bytes_per_entity_1m`.
pub const CASES: [&str; 20] = [
    BYTES_CASE,
    "simple_insert_batch",
    "simple_insert",
    "simple_iter",
    "fragmented_iter",
    "heavy_compute",
    "schedule",
    "add_remove",
    "random_get",
    "churn",
    "serialise",
    "restore",
    "empty_system",
    "twin_tick_10k_1k",
    "twin_tick_200k_1k",
    "twin_tick_200k_10k",
    "twin_tick_200k_100k",
    "twin_tick_1m_10k",
    "twin_tick_1m_idle",
    "aggregate_1m",
];

/// The one case that is counted and not timed.
pub(crate) const BYTES_CASE: &str = "bytes_per_entity_1m";

/// A piece of work that can be repeated.
pub trait Case {
    /// Does the work `times` times.
    fn run(&mut self, times: u64);

    /// A number of what the runs so far left behind. Equal for all libraries after the same number of runs.
    fn checksum(&mut self) -> u64;
}

/// A case of a state, a step that is timed, and a look at the state that is not.
pub fn case<S: 'static>(
    state: S,
    step: impl FnMut(&mut S) + 'static,
    checksum: impl FnMut(&mut S) -> u64 + 'static,
) -> Box<dyn Case> {
    Box::new(Steps { state, step, checksum })
}

struct Steps<S, R, C> {
    state: S,
    step: R,
    checksum: C,
}

impl<S, R: FnMut(&mut S), C: FnMut(&mut S) -> u64> Case for Steps<S, R, C> {
    fn run(&mut self, times: u64) {
        for _ in 0..times {
            (self.step)(&mut self.state);
        }
    }

    fn checksum(&mut self) -> u64 {
        (self.checksum)(&mut self.state)
    }
}

/// How large the worlds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As the names of the cases say.
    Full,
    /// A hundredth, for tests that compare adapters.
    Small,
}

impl Scale {
    /// `full` entities at this scale.
    #[must_use]
    pub const fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Small => full.div_ceil(100),
        }
    }
}

/// One way to write a case. The first form of a case stands for the library, further ones are named.
pub struct Form {
    /// Name of the case.
    pub case: &'static str,
    /// Empty, or what is special about this form.
    pub form: &'static str,
    /// Makes the world and the work.
    pub build: fn(Scale) -> Box<dyn Case>,
}

/// A library of the comparison.
pub struct Library {
    /// Name in the results.
    pub name: &'static str,
    /// All that it has a form for.
    pub forms: Vec<Form>,
}

impl Library {
    /// A library without forms.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, forms: Vec::new() }
    }

    /// Adds the form that stands for the library.
    #[must_use]
    pub fn with(self, case: &'static str, build: fn(Scale) -> Box<dyn Case>) -> Self {
        self.with_form(case, "", build)
    }

    /// Adds a further form.
    ///
    /// # Panics
    /// If no case has this name.
    #[must_use]
    pub fn with_form(
        mut self,
        case: &'static str,
        form: &'static str,
        build: fn(Scale) -> Box<dyn Case>,
    ) -> Self {
        assert!(CASES.contains(&case), "no case is named `{case}`");
        self.forms.push(Form { case, form, build });
        self
    }
}
