//! What a query asks of an entity: components to read or to write, or its name.
//!
//! A term knows two shapes: the slice of a whole archetype, and the value of one row. Rows are remembered precisely or
//! not at all: a component under [`Track::Rows`] is written through [`Tracked`] only, which marks the rows that are opened
//! for writing. `&mut T` of such a component does not compile: a plain slice cannot tell which rows were written.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::archetype::{Archetype, LendPlan, Lent};
use crate::bits::BitsMut;
use crate::column::Column;
use crate::component::{Component, ComponentKind, Signature, Track};
use crate::entity::Entity;
use crate::held::Held;

/// What a term takes its slice from.
pub struct Source<'w> {
    rows: u32,
    entities: &'w Held<Vec<Entity>>,
    column: Option<&'w mut Held<Column>>,
}

/// One thing that a query asks for: `&T`, `&mut T`, [`Tracked<T>`], an [`Option`] of these, or [`Entity`].
pub trait Term {
    /// All rows of an archetype.
    type Slice<'w>: Send;

    /// One row.
    type Row<'r>;

    /// The component that is asked for.
    #[doc(hidden)]
    const COMPONENT: Option<ComponentKind>;

    /// Whether it is asked for to be written.
    #[doc(hidden)]
    const WRITES: bool;

    /// The components without which an archetype does not match.
    #[doc(hidden)]
    const REQUIRED: Signature;

    /// All rows of an archetype that matched.
    #[doc(hidden)]
    fn slice<'w>(from: Source<'w>) -> Self::Slice<'w>;

    /// One row of a slice.
    #[doc(hidden)]
    fn row<'r, 'w: 'r>(slice: &'r mut Self::Slice<'w>, row: usize) -> Self::Row<'r>;

    /// Cuts the first `rows` off, a multiple of the rows that share a summary word of their bits.
    #[doc(hidden)]
    fn split_off_front<'w>(slice: &mut Self::Slice<'w>, rows: usize) -> Self::Slice<'w>;
}

/// Cuts the first `rows` off a shared slice.
fn front<'w, T>(slice: &mut &'w [T], rows: usize) -> &'w [T] {
    slice.split_off(..rows).expect("rows of the slice because the caller counts them")
}

/// Cuts the first `rows` off a slice.
fn front_mut<'w, T>(slice: &mut &'w mut [T], rows: usize) -> &'w mut [T] {
    slice.split_off_mut(..rows).expect("rows of the slice because the caller counts them")
}

const MATCHED: &str = "the column because the archetype matched the required components";
const SIZED: &str = "a tag has no value: filter by With or Without";

impl<T: Component> Term for &T {
    type Slice<'w> = &'w [T];
    type Row<'r> = &'r T;
    const COMPONENT: Option<ComponentKind> = {
        assert!(size_of::<T>() != 0, "{}", SIZED);
        Some(ComponentKind::of::<T>())
    };
    const WRITES: bool = false;
    const REQUIRED: Signature = Signature::of::<T>();

    #[inline]
    fn slice<'w>(from: Source<'w>) -> &'w [T] {
        from.column.expect(MATCHED).known_values(from.rows)
    }

    #[inline]
    fn row<'r, 'w: 'r>(slice: &'r mut &'w [T], row: usize) -> &'r T {
        &slice[row]
    }

    fn split_off_front<'w>(slice: &mut Self::Slice<'w>, rows: usize) -> Self::Slice<'w> {
        front(slice, rows)
    }
}

impl<T: Component> Term for &mut T {
    type Slice<'w> = &'w mut [T];
    type Row<'r> = &'r mut T;
    const COMPONENT: Option<ComponentKind> = {
        assert!(size_of::<T>() != 0, "{}", SIZED);
        assert!(!matches!(T::TRACK, Track::Rows), "Track::Rows is written through Tracked<T>");
        Some(ComponentKind::of::<T>())
    };
    const WRITES: bool = true;
    const REQUIRED: Signature = Signature::of::<T>();

    #[inline]
    fn slice<'w>(from: Source<'w>) -> &'w mut [T] {
        from.column.expect(MATCHED).known_values_mut(from.rows).0
    }

    #[inline]
    fn row<'r, 'w: 'r>(slice: &'r mut &'w mut [T], row: usize) -> &'r mut T {
        &mut slice[row]
    }

    fn split_off_front<'w>(slice: &mut Self::Slice<'w>, rows: usize) -> Self::Slice<'w> {
        front_mut(slice, rows)
    }
}

/// Asks for a component under [`Track::Rows`], to write: a row is marked when it is opened for writing.
///
/// ```compile_fail
/// # use bytemuck::{Pod, Zeroable};
/// # use ecs::{Component, Query, Track};
/// #[repr(C)]
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// struct Mean(f32);
/// impl Component for Mean {
///     const ID: u16 = 1;
///     const NAME: &'static str = "Mean";
///     const TRACK: Track = Track::Rows;
/// }
/// Query::<(&mut Mean,)>::new(); // write Tracked<Mean>
/// ```
pub struct Tracked<T>(PhantomData<fn() -> T>);

impl<T: Component> Term for Tracked<T> {
    type Slice<'w> = TrackedSlice<'w, T>;
    type Row<'r> = TrackedRow<'r, T>;
    const COMPONENT: Option<ComponentKind> = {
        assert!(size_of::<T>() != 0, "{}", SIZED);
        assert!(matches!(T::TRACK, Track::Rows), "Tracked<T> is for components under Track::Rows");
        Some(ComponentKind::of::<T>())
    };
    const WRITES: bool = true;
    const REQUIRED: Signature = Signature::of::<T>();

    #[inline]
    fn slice<'w>(from: Source<'w>) -> TrackedSlice<'w, T> {
        let (values, dirty) = from.column.expect(MATCHED).known_values_mut(from.rows);
        TrackedSlice { values, dirty }
    }

    #[inline]
    fn row<'r, 'w: 'r>(slice: &'r mut TrackedSlice<'w, T>, row: usize) -> TrackedRow<'r, T> {
        TrackedRow { value: &mut slice.values[row], row, dirty: slice.dirty.reborrow() }
    }

    fn split_off_front<'w>(slice: &mut Self::Slice<'w>, rows: usize) -> Self::Slice<'w> {
        TrackedSlice {
            values: front_mut(&mut slice.values, rows),
            dirty: slice.dirty.split_off_front(rows),
        }
    }
}

/// All rows of a component that remembers which were written. The default has none.
pub struct TrackedSlice<'w, T> {
    values: &'w mut [T],
    dirty: BitsMut<'w>,
}

impl<T> Default for TrackedSlice<'_, T> {
    fn default() -> Self {
        Self { values: &mut [], dirty: BitsMut::default() }
    }
}

impl<T> TrackedSlice<'_, T> {
    /// Opens `row` for writing and marks it.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut T {
        let value = &mut self.values[row];
        self.dirty.set(row);
        value
    }

    /// Opens all rows for writing and marks them all.
    pub fn all_mut(&mut self) -> &mut [T] {
        self.dirty.set_range(0..self.values.len());
        self.values
    }

    /// Says that `row` was written, without touching it.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn mark(&mut self, row: usize) {
        assert!(row < self.values.len(), "row {row} of {}", self.values.len());
        self.dirty.set(row);
    }

    /// Whether `row` was written since the bits were last drained.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    #[inline]
    pub fn is_dirty(&self, row: usize) -> bool {
        assert!(row < self.values.len(), "row {row} of {}", self.values.len());
        self.dirty.contains(row)
    }
}

impl<T> Deref for TrackedSlice<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.values
    }
}

/// One row of a component that remembers writes: reading leaves no mark, `DerefMut` marks.
pub struct TrackedRow<'r, T> {
    value: &'r mut T,
    row: usize,
    dirty: BitsMut<'r>,
}

impl<T> Deref for TrackedRow<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for TrackedRow<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.dirty.set(self.row);
        self.value
    }
}

impl<Q: Term> Term for Option<Q> {
    type Slice<'w> = Option<Q::Slice<'w>>;
    type Row<'r> = Option<Q::Row<'r>>;
    const COMPONENT: Option<ComponentKind> = Q::COMPONENT;
    const WRITES: bool = Q::WRITES;
    const REQUIRED: Signature = Signature::EMPTY;

    #[inline]
    fn slice<'w>(from: Source<'w>) -> Self::Slice<'w> {
        from.column.is_some().then(|| Q::slice(from))
    }

    #[inline]
    fn row<'r, 'w: 'r>(slice: &'r mut Self::Slice<'w>, row: usize) -> Self::Row<'r> {
        slice.as_mut().map(|slice| Q::row(slice, row))
    }

    fn split_off_front<'w>(slice: &mut Self::Slice<'w>, rows: usize) -> Self::Slice<'w> {
        slice.as_mut().map(|slice| Q::split_off_front(slice, rows))
    }
}

impl Term for Entity {
    type Slice<'w> = &'w [Entity];
    type Row<'r> = Entity;
    const COMPONENT: Option<ComponentKind> = None;
    const WRITES: bool = false;
    const REQUIRED: Signature = Signature::EMPTY;

    #[inline]
    fn slice<'w>(from: Source<'w>) -> &'w [Entity] {
        from.entities
    }

    #[inline]
    fn row<'r, 'w: 'r>(slice: &'r mut &'w [Entity], row: usize) -> Entity {
        slice[row]
    }

    fn split_off_front<'w>(slice: &mut Self::Slice<'w>, rows: usize) -> Self::Slice<'w> {
        front(slice, rows)
    }
}

/// A tuple of one to twelve terms.
pub trait Terms {
    /// A slice for each term, in tuple order.
    type Slices<'w>: Send;

    /// A row for each term, in tuple order.
    type Row<'r>;

    /// The component of each term, in tuple order.
    #[doc(hidden)]
    const COMPONENTS: &'static [Option<ComponentKind>];

    /// The components that are asked for, by what is done with them.
    #[doc(hidden)]
    const READS: Signature;

    #[doc(hidden)]
    const WRITES: Signature;

    /// The components without which an archetype does not match.
    #[doc(hidden)]
    const REQUIRED: Signature;

    /// Lends the columns of one archetype.
    #[doc(hidden)]
    fn slices<'a>(table: &'a mut Archetype, plan: &LendPlan) -> Self::Slices<'a>;

    /// One row of each slice.
    #[doc(hidden)]
    fn row<'r, 'w: 'r>(slices: &'r mut Self::Slices<'w>, row: usize) -> Self::Row<'r>;

    /// Cuts the first `rows` off each slice.
    #[doc(hidden)]
    fn split_off_front<'w>(slices: &mut Self::Slices<'w>, rows: usize) -> Self::Slices<'w>;
}

/// The set of the component of `Q`, if it is asked for in this way.
const fn touched<Q: Term>(writes: bool) -> Signature {
    match Q::COMPONENT {
        Some(kind) if Q::WRITES == writes => Signature::of_id(kind.id),
        _ => Signature::EMPTY,
    }
}

macro_rules! terms {
    ($($T:ident $v:ident),+) => {
        impl<$($T: Term),+> Terms for ($($T,)+) {
            type Slices<'w> = ($($T::Slice<'w>,)+);
            type Row<'r> = ($($T::Row<'r>,)+);
            const COMPONENTS: &'static [Option<ComponentKind>] = &[$($T::COMPONENT),+];
            const READS: Signature = Signature::EMPTY$(.union(touched::<$T>(false)))+;
            const WRITES: Signature = Signature::EMPTY$(.union(touched::<$T>(true)))+;
            const REQUIRED: Signature = Signature::EMPTY$(.union($T::REQUIRED))+;

            #[inline]
            fn slices<'a>(table: &'a mut Archetype, plan: &LendPlan) -> Self::Slices<'a> {
                let Lent { rows, entities, columns: [$($v),+] } = table.lend(plan);
                ($($T::slice(Source { rows, entities, column: $v }),)+)
            }

            #[inline]
            fn row<'r, 'w: 'r>(slices: &'r mut Self::Slices<'w>, row: usize) -> Self::Row<'r> {
                let ($($v,)+) = slices;
                ($($T::row($v, row),)+)
            }

            fn split_off_front<'w>(slices: &mut Self::Slices<'w>, rows: usize) -> Self::Slices<'w> {
                let ($($v,)+) = slices;
                ($($T::split_off_front($v, rows),)+)
            }
        }
    };
}

for_tuples!(terms);
