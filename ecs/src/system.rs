//! Systems: functions over queries, and what a schedule knows of each.
//!
//! A function of a [`Part`] and any number of queries is a system. What it reads and writes is read off its queries;
//! resources are declared beside it. A function of the whole world is an exclusive system, which runs alone.

use std::any::{Any, TypeId, type_name};
use std::fmt;

use crate::commands::CommandBuffer;
use crate::component::{ComponentKind, Signature};
use crate::filter::Filter;
use crate::part::{Grant, Part, ResourceGrant};
use crate::query::Query;
use crate::term::Terms;
use crate::world::World;

/// What the exclusive systems of a schedule are given beside the world: rings, clocks, whatever lives outside. `()` is
/// nothing.
///
/// ```
/// use ecs::{Context, ScheduleBuilder, World};
///
/// struct Inputs;
/// impl Context for Inputs {
///     type Of<'a> = &'a [u32];
/// }
///
/// let mut builder = ScheduleBuilder::<Inputs>::new();
/// builder.add_exclusive("take", |world: &mut World, inputs: &mut &[u32]| {
///     world.put_resource(Box::new(inputs.len()));
/// });
/// let mut schedule = builder.build()?;
/// let mut world = World::new();
/// schedule.run(&mut world, &mut [1, 2, 3].as_slice(), 0);
/// assert_eq!(world.resource::<usize>(), Some(&3));
/// # Ok::<(), ecs::ScheduleError>(())
/// ```
pub trait Context: 'static {
    /// The value, for the time of one run.
    type Of<'a>;
}

impl Context for () {
    type Of<'a> = ();
}

/// A query as the parameter of a system.
pub trait Param: Send + 'static {
    #[doc(hidden)]
    const ACCESS: Access;

    #[doc(hidden)]
    fn prepare() -> Self;
}

/// What a parameter touches.
#[derive(Clone, Copy)]
pub struct Access {
    pub(crate) grant: Grant,
    pub(crate) names: &'static [Option<ComponentKind>],
}

impl<Q: Terms + 'static, F: Filter> Param for Query<Q, F> {
    const ACCESS: Access = Access { grant: Self::GRANT, names: Q::COMPONENTS };

    fn prepare() -> Self {
        Self::new()
    }
}

/// A function that can be a system: `FnMut(&mut Part, &mut Query<…>, …)` with up to twelve queries.
pub trait SystemFn<P>: Send + 'static {
    #[doc(hidden)]
    fn accesses(&self) -> Vec<Access>;

    #[doc(hidden)]
    fn into_body(self) -> PartBody;
}

/// A system's function with the queries that it keeps.
pub(crate) type PartBody = Box<dyn FnMut(&mut Part<'_>) + Send>;

macro_rules! system_fn {
    ($($P:ident $p:ident),*) => {
        impl<Func, $($P: Param),*> SystemFn<($($P,)*)> for Func
        where
            Func: FnMut(&mut Part<'_>, $(&mut $P),*) + Send + 'static,
        {
            fn accesses(&self) -> Vec<Access> {
                vec![$($P::ACCESS),*]
            }

            fn into_body(mut self) -> PartBody {
                $(let mut $p = $P::prepare();)*
                Box::new(move |part| self(part, $(&mut $p),*))
            }
        }
    };
}

system_fn!();
for_tuples!(system_fn);

/// What runs.
pub(crate) enum Body<C: Context> {
    Part(PartBody),
    Exclusive(ExclusiveBody<C>),
}

/// A function of the whole world and the context of a run.
pub(crate) type ExclusiveBody<C> =
    Box<dyn for<'a, 'b> FnMut(&'b mut World, &'b mut <C as Context>::Of<'a>) + Send>;

/// One system of a schedule, and how long its runs took.
pub struct System<C: Context = ()> {
    pub(crate) name: &'static str,
    pub(crate) body: Body<C>,
    pub(crate) grant: Grant,
    pub(crate) names: Vec<(u16, &'static str)>,
    pub(crate) resources: ResourceGrant,
    pub(crate) after: Vec<&'static str>,
    pub(crate) every_ticks: u64,
    pub(crate) stage: usize,
    pub(crate) buffer: CommandBuffer,
    pub(crate) times: Times,
}

/// What the runs of a system took, or of the commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Runs since the start or the last reset.
    pub runs: u64,
    /// Time of all those runs, in nanoseconds; 0 if they were not timed.
    pub total_ns: u64,
    /// Time of the longest of them, in nanoseconds.
    pub max_ns: u64,
}

impl Times {
    #[inline]
    pub(crate) fn account(&mut self, took_ns: u64) {
        self.runs += 1;
        if took_ns > 0 {
            self.total_ns = self.total_ns.saturating_add(took_ns);
            self.max_ns = self.max_ns.max(took_ns);
        }
    }
}

impl<C: Context> System<C> {
    pub(crate) fn new(name: &'static str, body: Body<C>, accesses: &[Access]) -> Self {
        let mut grant = Grant::default();
        let mut names = Vec::new();
        for access in accesses {
            grant = grant.union(access.grant);
            names.extend(access.names.iter().flatten().map(|kind| (kind.id, kind.name)));
        }
        Self {
            name,
            body,
            grant,
            names,
            resources: ResourceGrant::default(),
            after: Vec::new(),
            every_ticks: 1,
            stage: 0,
            buffer: CommandBuffer::default(),
            times: Times::default(),
        }
    }

    /// Makes the system run only at ticks that are multiples of `ticks`.
    ///
    /// # Panics
    /// `ticks` is 0.
    pub fn every(&mut self, ticks: u64) -> &mut Self {
        assert!(ticks > 0, "system `{}` cannot run every 0 ticks", self.name);
        self.every_ticks = ticks;
        self
    }

    /// States that it runs after `earlier`, which was added before it.
    pub fn after(&mut self, earlier: &'static str) -> &mut Self {
        self.after.push(earlier);
        self
    }

    /// Declares that it reads resource `R`.
    pub fn reads<R: Any + Send + Sync>(&mut self) -> &mut Self {
        self.resources.reads.push((TypeId::of::<R>(), type_name::<R>()));
        self
    }

    /// Declares that it reads and writes resource `R`.
    pub fn writes<R: Any + Send + Sync>(&mut self) -> &mut Self {
        self.resources.writes.push((TypeId::of::<R>(), type_name::<R>()));
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

    /// What its runs took.
    #[must_use]
    pub const fn times(&self) -> Times {
        self.times
    }

    /// Whether it has the whole world to itself.
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        matches!(self.body, Body::Exclusive(_))
    }

    #[inline]
    pub(crate) fn is_due(&self, tick: u64) -> bool {
        self.every_ticks == 1 || tick.is_multiple_of(self.every_ticks)
    }

    /// What this system and a later one both touch, and at least one of them writes.
    pub(crate) fn conflict(&self, later: &Self) -> Option<String> {
        let both = self.grant.conflicts(later.grant);
        let component = both.ids().next().map(|id| self.component_name(later, id));
        component.or_else(|| self.resources.conflict(&later.resources).map(str::to_owned))
    }

    fn component_name(&self, other: &Self, id: u16) -> String {
        let mut names = self.names.iter().chain(&other.names);
        let known = names.find(|&&(known, _)| known == id);
        known.map_or_else(|| format!("component {id}"), |&(_, name)| name.to_owned())
    }

    /// The names of the components of `set`, for people.
    pub(crate) fn list(&self, set: Signature) -> String {
        let names: Vec<String> = set.ids().map(|id| self.component_name(self, id)).collect();
        names.join(" ")
    }
}

impl<C: Context> AsMut<CommandBuffer> for System<C> {
    fn as_mut(&mut self) -> &mut CommandBuffer {
        &mut self.buffer
    }
}

impl<C: Context> fmt::Debug for System<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.name)
            .field("every_ticks", &self.every_ticks)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
