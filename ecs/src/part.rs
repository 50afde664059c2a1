//! The part of a world that one system holds: the columns and resources it has declared, and its commands.
//!
//! The three fields can be used at the same time, so a walk over the columns may give commands. What was not declared is
//! refused with a panic, in a sequential run as in a parallel one, so that the first run of a system tells.

use std::any::{Any, TypeId, type_name};

use crate::archetype::Archetype;
use crate::commands::Commands;
use crate::component::Signature;
use crate::entity::Entities;
use crate::resource::Resources;
use crate::world::World;

/// What a system works on.
pub struct Part<'w> {
    /// The columns, for queries; a query takes the whole part as well.
    pub columns: PartColumns<'w>,
    /// Changes that wait until the stage has ended.
    pub commands: Commands<'w>,
    /// The resources.
    pub resources: PartResources<'w>,
}

/// The columns of a part.
pub struct PartColumns<'w> {
    pub(crate) world_id: u64,
    pub(crate) entities: &'w Entities,
    pub(crate) archetypes: &'w mut [Archetype],
    pub(crate) grant: &'w Grant,
}

/// The resources of a part.
pub struct PartResources<'w> {
    pub(crate) resources: &'w mut Resources,
    pub(crate) grant: &'w ResourceGrant,
}

/// Something that lends columns to queries: a [`World`], or the [`Part`] of one that a system holds.
pub trait Lend {
    /// What there is.
    #[doc(hidden)]
    fn lend(&mut self) -> PartColumns<'_>;
}

/// Components that may be read, and those that may be written as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) reads: Signature,
    pub(crate) writes: Signature,
}

/// Resources that may be read, and those that may be written as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceGrant {
    pub(crate) reads: Vec<(TypeId, &'static str)>,
    pub(crate) writes: Vec<(TypeId, &'static str)>,
    /// Whether everything may be written.
    pub(crate) all: bool,
}

impl Lend for World {
    #[inline]
    fn lend(&mut self) -> PartColumns<'_> {
        self.columns(&Grant::ALL).0
    }
}

impl Lend for Part<'_> {
    #[inline]
    fn lend(&mut self) -> PartColumns<'_> {
        self.columns.lend()
    }
}

impl Lend for PartColumns<'_> {
    #[inline]
    fn lend(&mut self) -> PartColumns<'_> {
        PartColumns { archetypes: self.archetypes, ..*self }
    }
}

impl PartResources<'_> {
    /// The resource of type `R`, if the world has one.
    ///
    /// # Panics
    /// If the system did not declare that it reads or writes it.
    #[must_use]
    pub fn of<R: Any + Send + Sync>(&self) -> Option<&R> {
        let declared = self.grant.reads(TypeId::of::<R>());
        assert!(declared, "{} is not declared to be read", type_name::<R>());
        self.resources.find()
    }

    /// The resource of type `R`, to write.
    ///
    /// # Panics
    /// If the system did not declare that it writes it.
    pub fn of_mut<R: Any + Send + Sync>(&mut self) -> Option<&mut R> {
        let declared = self.grant.writes(TypeId::of::<R>());
        assert!(declared, "{} is not declared to be written", type_name::<R>());
        self.resources.find_mut()
    }
}

impl Grant {
    /// Everything.
    pub(crate) const ALL: Self = Self { reads: Signature::ALL, writes: Signature::ALL };

    /// The components that cannot be touched by holders of both grants at the same time.
    pub(crate) fn conflicts(self, other: Self) -> Signature {
        let mine = self.writes.intersection(other.reads.union(other.writes));
        mine.union(other.writes.intersection(self.reads))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { reads: self.reads.union(other.reads), writes: self.writes.union(other.writes) }
    }

    /// Refuses a walk that reaches beyond the grant.
    #[inline]
    pub(crate) fn check(self, asked: Self) {
        let readable = self.reads.union(self.writes);
        if !(readable.contains(asked.reads) && self.writes.contains(asked.writes)) {
            self.refuse(asked);
        }
    }

    #[cold]
    fn refuse(self, asked: Self) -> ! {
        let reads = asked.reads.difference(self.reads.union(self.writes));
        let writes = asked.writes.difference(self.writes);
        panic!(
            "a query reads components {reads:?} and writes {writes:?} that its system did not declare"
        )
    }
}

impl ResourceGrant {
    /// Everything.
    pub(crate) const ALL: Self = Self { reads: Vec::new(), writes: Vec::new(), all: true };

    pub(crate) fn writes(&self, resource: TypeId) -> bool {
        self.all || self.writes.iter().any(|&(id, _)| id == resource)
    }

    pub(crate) fn reads(&self, resource: TypeId) -> bool {
        self.writes(resource) || self.reads.iter().any(|&(id, _)| id == resource)
    }

    /// Some resource that cannot be used under both grants at the same time.
    pub(crate) fn conflict(&self, other: &Self) -> Option<&'static str> {
        let mine = self.writes.iter().find(|&&(id, _)| other.reads(id));
        mine.or_else(|| other.writes.iter().find(|&&(id, _)| self.reads(id))).map(|&(_, name)| name)
    }
}
