//! Which entities a query visits, beyond those that carry what it asks for.
//!
//! [`With`] and [`Without`] choose archetypes and cost nothing per row. [`Changed`] chooses rows.

use std::marker::PhantomData;

use crate::component::{Component, Signature, Track};

/// A condition on entities. A tuple of filters holds where each of them holds; `()` holds everywhere.
pub trait Filter: 'static {
    /// Components that an archetype must carry.
    #[doc(hidden)]
    const WITH: Signature = Signature::EMPTY;

    /// Components that an archetype must not carry.
    #[doc(hidden)]
    const WITHOUT: Signature = Signature::EMPTY;

    /// Components of which a row must have been written.
    #[doc(hidden)]
    const CHANGED: Signature = Signature::EMPTY;
}

/// Holds for entities that carry `T`.
pub struct With<T>(PhantomData<fn() -> T>);

/// Holds for entities that do not carry `T`.
pub struct Without<T>(PhantomData<fn() -> T>);

/// Holds for rows whose `T` was written since the bits of `T` were last drained. Needs [`Track::Rows`].
///
/// The rows are chosen when a query reaches an archetype: what it writes on its way does not add to them.
pub struct Changed<T>(PhantomData<fn() -> T>);

impl<T: Component> Filter for With<T> {
    const WITH: Signature = Signature::of::<T>();
}

impl<T: Component> Filter for Without<T> {
    const WITHOUT: Signature = Signature::of::<T>();
}

impl<T: Component> Filter for Changed<T> {
    const WITH: Signature = Signature::of::<T>();
    const CHANGED: Signature = {
        assert!(matches!(T::TRACK, Track::Rows), "Changed<T> is for components under Track::Rows");
        Signature::of::<T>()
    };
}

macro_rules! filter {
    ($($F:ident $f:ident),*) => {
        impl<$($F: Filter),*> Filter for ($($F,)*) {
            const WITH: Signature = Signature::EMPTY$(.union($F::WITH))*;
            const WITHOUT: Signature = Signature::EMPTY$(.union($F::WITHOUT))*;
            const CHANGED: Signature = Signature::EMPTY$(.union($F::CHANGED))*;
        }
    };
}

filter!();
for_tuples!(filter);
