//! What may stand in a column: plain old data with a stable number.
//!
//! The number is the identity of a component everywhere: in signatures, in edges between archetypes, and in whatever
//! leaves the process. It is chosen once by the author of the type and never reused for another meaning.
//! Types that own memory are refused by the bound [`bytemuck::Pod`]: any bytes are a valid value, and nothing needs dropping.

use std::any::TypeId;
use std::fmt;

/// One more than the largest component id: a signature is one `u128`.
pub const COMPONENT_IDS: usize = 128;

/// Columns start on an even cache line, so no component may ask for a stricter alignment. Processors fetch two lines at
/// once where the former one is even; so a row of two lines is one access to memory.
pub const COLUMN_ALIGN_BYTES: usize = 128;

/// How closely writes to a component are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Writes leave no trace.
    None,
    /// Each mutable access raises the version of the whole column.
    Column,
    /// As [`Track::Column`], and one bit for each row says that it was written since the bits were last drained.
    Rows,
}

/// A plain value that entities carry, stored in a column of its own.
///
/// A component of size zero is a tag: it shapes the archetype and stores nothing.
pub trait Component: bytemuck::Pod + Send + Sync {
    /// Stable number below [`COMPONENT_IDS`], unique in the program.
    const ID: u16;
    /// Name for people: reports and panics.
    const NAME: &'static str;
    /// How closely writes are remembered.
    const TRACK: Track = Track::Column;
}

/// What the tables know of a component type.
#[derive(Clone, Copy, Debug)]
pub struct ComponentKind {
    pub(crate) id: u16,
    pub(crate) name: &'static str,
    pub(crate) row_bytes: usize,
    pub(crate) track: Track,
    pub(crate) type_id: TypeId,
}

impl ComponentKind {
    /// No component.
    pub(crate) const NONE: Self = Self {
        id: u16::MAX,
        name: "none",
        row_bytes: 0,
        track: Track::None,
        type_id: TypeId::of::<()>(),
    };

    /// The kind of `T`. An id out of range or an alignment above [`COLUMN_ALIGN_BYTES`] does not compile.
    #[must_use]
    pub const fn of<T: Component>() -> Self {
        const {
            assert!((T::ID as usize) < COMPONENT_IDS, "a component id must be below 128");
            assert!(
                align_of::<T>() <= COLUMN_ALIGN_BYTES,
                "a component aligns to at most 128 bytes"
            );
        }
        Self {
            id: T::ID,
            name: T::NAME,
            row_bytes: size_of::<T>(),
            track: T::TRACK,
            type_id: TypeId::of::<T>(),
        }
    }
}

/// The set of component ids that an archetype, a bundle or a filter names.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(u128);

impl Signature {
    /// No component.
    pub const EMPTY: Self = Self(0);

    /// Every component that can exist.
    pub const ALL: Self = Self(u128::MAX);

    /// The set that holds `T` alone.
    #[must_use]
    pub const fn of<T: Component>() -> Self {
        Self(1 << ComponentKind::of::<T>().id)
    }

    pub(crate) const fn of_id(id: u16) -> Self {
        Self(1 << id)
    }

    /// This set with the ids of `other` added.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the ids of `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The ids in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every id of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some id is in both sets.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no id is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of ids in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The ids, ascending.
    pub fn ids(self) -> impl Iterator<Item = u16> + Clone {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let id = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (id < u128::BITS).then_some(id as u16)
        })
    }

    /// The single id of a set of one.
    #[inline]
    pub(crate) fn only_id(self) -> Option<u16> {
        self.0.is_power_of_two().then(|| self.0.trailing_zeros() as u16)
    }

    pub(crate) const fn to_parts(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }

    pub(crate) const fn from_parts([low, high]: [u64; 2]) -> Self {
        Self(low as u128 | (high as u128) << 64)
    }

    /// The set as bits: bit `n` is component id `n`.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ids()).finish()
    }
}
