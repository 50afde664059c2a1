//! The part of a world that one system holds: the columns and resources it has declared, and its commands.
//!
//! The three fields can be used at the same time, so a walk over the columns may give commands. What was not declared is
//! refused with a panic, in a sequential run as in a parallel one, so that the first run of a system tells.

use std::any::{Any, TypeId, type_name};

use crate::archetype::Archetype;
use crate::column::{Column, Lent};
use crate::commands::Commands;
use crate::component::Signature;
use crate::entity::Entities;
use crate::lend::{Grant, Lend, Shell, Source, Tables};
use crate::resource::{Hold, Resources};

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
    world_id: u64,
    entities: &'w Entities,
    tables: Columns<'w>,
    grant: Grant,
}

enum Columns<'w> {
    Whole(&'w mut [Archetype]),
    Lent(Vec<Shell<'w>>),
}

/// The resources of a part.
pub struct PartResources<'w> {
    shelf: Shelf<'w>,
    grant: &'w ResourceGrant,
}

enum Shelf<'w> {
    Whole(&'w mut Resources),
    Lent(Vec<(TypeId, Hold<'w>)>),
}

/// Resources that may be read, and those that may be written as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceGrant {
    pub(crate) reads: Vec<(TypeId, &'static str)>,
    pub(crate) writes: Vec<(TypeId, &'static str)>,
    /// Whether everything may be written.
    pub(crate) all: bool,
}

/// A world, taken apart for lending.
pub(crate) struct Lender<'w> {
    pub(crate) world_id: u64,
    pub(crate) entities: &'w Entities,
    pub(crate) archetypes: &'w mut [Archetype],
    pub(crate) resources: &'w mut Resources,
}

impl<'w> Lend<'w> for PartColumns<'w> {
    #[inline]
    fn source(&mut self) -> Source<'_, 'w> {
        let tables = match &mut self.tables {
            Columns::Whole(archetypes) => Tables::Whole(archetypes),
            Columns::Lent(shells) => Tables::Lent(shells),
        };
        Source { world_id: self.world_id, entities: self.entities, tables, grant: self.grant }
    }
}

impl<'w> Lend<'w> for Part<'w> {
    #[inline]
    fn source(&mut self) -> Source<'_, 'w> {
        self.columns.source()
    }
}

impl PartResources<'_> {
    /// The resource of type `R`, if the world has one.
    ///
    /// # Panics
    /// If the system did not declare that it reads or writes it.
    #[must_use]
    pub fn of<R: Any + Send + Sync>(&self) -> Option<&R> {
        assert!(self.grant.allows::<R>(false), "{} is not declared to be read", type_name::<R>());
        match &self.shelf {
            Shelf::Whole(resources) => resources.find(),
            Shelf::Lent(holds) => {
                let (_, hold) = holds.iter().find(|(id, _)| *id == TypeId::of::<R>())?;
                hold.shared().downcast_ref()
            }
        }
    }

    /// The resource of type `R`, to write.
    ///
    /// # Panics
    /// If the system did not declare that it writes it.
    pub fn of_mut<R: Any + Send + Sync>(&mut self) -> Option<&mut R> {
        assert!(self.grant.allows::<R>(true), "{} is not declared to be written", type_name::<R>());
        match &mut self.shelf {
            Shelf::Whole(resources) => resources.find_mut(),
            Shelf::Lent(holds) => {
                let (_, hold) = holds.iter_mut().find(|(id, _)| *id == TypeId::of::<R>())?;
                hold.unique()?.downcast_mut()
            }
        }
    }
}

impl ResourceGrant {
    /// Everything.
    pub(crate) const ALL: Self = Self { reads: Vec::new(), writes: Vec::new(), all: true };

    fn allows<R: Any>(&self, write: bool) -> bool {
        let holds = |list: &[(TypeId, _)]| list.iter().any(|(id, _)| *id == TypeId::of::<R>());
        self.all || holds(&self.writes) || !write && holds(&self.reads)
    }

    /// Some resource that cannot be used under both grants at the same time.
    pub(crate) fn conflict(&self, other: &Self) -> Option<&'static str> {
        let touches = |grant: &Self, id| {
            grant.writes.iter().chain(&grant.reads).any(|&(touched, _)| touched == id)
        };
        let mine = self.writes.iter().find(|&&(id, _)| touches(other, id));
        mine.or_else(|| other.writes.iter().find(|&&(id, _)| touches(self, id)))
            .map(|(_, name)| *name)
    }
}

impl<'w> Lender<'w> {
    /// All of the world for one system.
    #[inline]
    pub(crate) fn whole(
        self,
        grant: Grant,
        resources: &'w ResourceGrant,
        commands: Commands<'w>,
    ) -> Part<'w> {
        let tables = Columns::Whole(self.archetypes);
        Part {
            columns: PartColumns {
                world_id: self.world_id,
                entities: self.entities,
                tables,
                grant,
            },
            commands,
            resources: PartResources { shelf: Shelf::Whole(self.resources), grant: resources },
        }
    }

    /// A part for each of several systems whose grants do not conflict.
    pub(crate) fn cut<'g>(
        self,
        grants: &[(Grant, &'g ResourceGrant)],
    ) -> Vec<(PartColumns<'w>, PartResources<'g>)>
    where
        'w: 'g,
    {
        let Self { world_id, entities, archetypes, resources } = self;
        let mut shells: Vec<Vec<Shell<'w>>> = grants.iter().map(|_| Vec::new()).collect();
        for archetype in archetypes {
            let (head, columns) = archetype.split_mut();
            for shells in &mut shells {
                shells.push(Shell::new(head, columns.len()));
            }
            for (position, column) in columns.iter_mut().enumerate() {
                lend_column(column, position, grants, &mut shells);
            }
        }
        let mut shelves: Vec<Vec<(TypeId, Hold<'w>)>> = grants.iter().map(|_| Vec::new()).collect();
        for (id, hold) in resources.lend_all() {
            lend_resource(id, hold, grants, &mut shelves);
        }
        let parts = shells.into_iter().zip(shelves).zip(grants);
        parts
            .map(|((shells, holds), &(grant, resources))| {
                let tables = Columns::Lent(shells);
                let columns = PartColumns { world_id, entities, tables, grant };
                (columns, PartResources { shelf: Shelf::Lent(holds), grant: resources })
            })
            .collect()
    }
}

/// Gives a column to the one system that writes it, or shares it among those that read it.
fn lend_column<'w>(
    column: &'w mut Column,
    position: usize,
    grants: &[(Grant, &ResourceGrant)],
    shells: &mut [Vec<Shell<'w>>],
) {
    let id = Signature::of_id(column.id());
    let mut put = |system: usize, lent| {
        let shell =
            shells[system].last_mut().expect("a shell for each system because it was made above");
        shell.put(position, lent);
    };
    if let Some(writer) = grants.iter().position(|(grant, _)| grant.writes.contains(id)) {
        return put(writer, Lent::Unique(column));
    }
    let column: &'w Column = column;
    for (system, (grant, _)) in grants.iter().enumerate() {
        if grant.reads.contains(id) {
            put(system, Lent::Shared(column));
        }
    }
}

/// Gives a resource to the one system that writes it, or shares it among those that read it.
fn lend_resource<'w>(
    id: TypeId,
    hold: Hold<'w>,
    grants: &[(Grant, &ResourceGrant)],
    shelves: &mut [Vec<(TypeId, Hold<'w>)>],
) {
    let names = |list: &[(TypeId, _)]| list.iter().any(|&(named, _)| named == id);
    if let Some(writer) = grants.iter().position(|(_, grant)| names(&grant.writes)) {
        return shelves[writer].push((id, hold));
    }
    let shared = hold.into_shared();
    for (system, (_, grant)) in grants.iter().enumerate() {
        if names(&grant.reads) {
            shelves[system].push((id, Hold::Shared(shared)));
        }
    }
}
