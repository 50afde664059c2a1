//! Bundles: the components that an entity receives together, as a tuple of up to twelve.
//!
//! A tuple that names a component twice does not compile.

use crate::archetype::{Archetype, LendPlan};
use crate::component::{Component, ComponentKind, Signature};

/// A tuple of components.
///
/// ```compile_fail
/// # use bytemuck::{Pod, Zeroable};
/// # use ecs::{Component, World};
/// #[repr(C)]
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// struct Level(f32);
/// impl Component for Level {
///     const ID: u16 = 1;
///     const NAME: &'static str = "Level";
/// }
/// World::new().spawn((Level(1.0), Level(2.0))); // a bundle names a component twice
/// ```
pub trait Bundle: Sized + 'static {
    /// The ids of its components. A component named twice is refused where this is evaluated: at compile time.
    const SIGNATURE: Signature;

    /// What the tables must know of each component, in tuple order.
    #[doc(hidden)]
    const KINDS: &'static [ComponentKind];

    /// Spare rows of the columns of this bundle.
    #[doc(hidden)]
    type Spare<'a>;

    /// A slice of values for each component, in tuple order.
    type Columns<'a>;

    /// Length of the slices of `columns`, which is the same for all.
    #[doc(hidden)]
    fn columns_len(columns: &Self::Columns<'_>) -> usize;

    /// Writes spare rows from slices of the same length.
    #[doc(hidden)]
    fn write_columns(columns: Self::Columns<'_>, spare: &mut Self::Spare<'_>);

    /// Appends the bytes of the values, in tuple order.
    #[doc(hidden)]
    fn encode(self, bytes: &mut Vec<u8>);

    /// The values that [`Bundle::encode`] has appended, at the start of `bytes`.
    #[doc(hidden)]
    fn decode(bytes: &[u8]) -> Self;

    /// Writes over the values of an existing row. The world has found that the ids belong to these types.
    #[doc(hidden)]
    fn write(self, archetype: &mut Archetype, row: usize);

    /// Resolves the columns once, for many rows behind the last one.
    #[doc(hidden)]
    fn spare<'a>(archetype: &'a mut Archetype, rows: usize) -> Self::Spare<'a>;

    /// Writes the spare row `row`.
    #[doc(hidden)]
    fn write_spare(self, spare: &mut Self::Spare<'_>, row: usize);
}

/// The set with `id` added; a second time is refused.
const fn with_unique(signature: Signature, id: Signature) -> Signature {
    assert!(!signature.intersects(id), "a bundle names a component twice");
    signature.union(id)
}

macro_rules! bundle {
    ($($T:ident $v:ident),+) => {
        impl<$($T: Component),+> Bundle for ($($T,)+) {
            const SIGNATURE: Signature = {
                let signature = Signature::EMPTY;
                $(let signature = with_unique(signature, Signature::of::<$T>());)+
                signature
            };
            const KINDS: &'static [ComponentKind] = &[$(ComponentKind::of::<$T>()),+];

            type Spare<'a> = ($(&'a mut [$T],)+);
            type Columns<'a> = ($(&'a [$T],)+);

            fn columns_len(columns: &Self::Columns<'_>) -> usize {
                let ($($v,)+) = columns;
                let len = columns.0.len();
                $(assert!($v.len() == len, "{} values of {} and {len} of the first component", $v.len(), $T::NAME);)+
                len
            }

            fn write_columns(columns: Self::Columns<'_>, spare: &mut Self::Spare<'_>) {
                #[expect(non_snake_case, reason = "the tuple's type names double as its value names")]
                let ($($T,)+) = columns;
                let ($($v,)+) = spare;
                $(if size_of::<$T>() != 0 {
                    $v.copy_from_slice($T);
                })+
            }

            fn encode(self, bytes: &mut Vec<u8>) {
                let ($($v,)+) = self;
                $(bytes.extend_from_slice(bytemuck::bytes_of(&$v));)+
            }

            fn decode(mut bytes: &[u8]) -> Self {
                ($({
                    let value = bytes.split_off(..size_of::<$T>());
                    bytemuck::pod_read_unaligned::<$T>(value.expect("the bytes of each value because `encode` wrote them"))
                },)+)
            }

            fn write(self, archetype: &mut Archetype, row: usize) {
                let ($($v,)+) = self;
                $(if let Some(value) = archetype.column_mut($T::ID).expect(CARRIED).row_mut(row) {
                    *value = $v;
                })+
            }

            fn spare<'a>(archetype: &'a mut Archetype, rows: usize) -> Self::Spare<'a> {
                let plan = LendPlan::new(archetype, &[$(Some(ComponentKind::of::<$T>())),+]);
                let [$($v),+] = archetype.lend(&plan).columns;
                ($({
                    let spare = $v.expect(CARRIED).spare_mut::<$T>();
                    let rows = if size_of::<$T>() == 0 { 0 } else { rows };
                    &mut spare[..rows]
                },)+)
            }

            #[inline]
            fn write_spare(self, spare: &mut Self::Spare<'_>, row: usize) {
                #[expect(non_snake_case, reason = "the tuple's type names double as its value names")]
                let ($($T,)+) = self;
                let ($($v,)+) = spare;
                $(if size_of::<$T>() != 0 {
                    $v[row] = $T;
                })+
            }
        }
    };
}

const CARRIED: &str =
    "a column of each component because the archetype was chosen by the bundle's signature";

for_tuples!(bundle);
