//! What a world owns and lends to the systems of a stage that runs in parallel: columns, names of rows, resources.
//!
//! A system that writes receives the value itself, systems that read share it, and the world has it back before anyone
//! else looks. So the compiler proves that no two systems share what one of them writes; nothing is locked, and nothing
//! is checked for each row.

use std::mem::replace;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value, a share of one, or the place of one that is lent.
pub(crate) enum Held<T> {
    /// Nobody else sees it.
    Own(T),
    /// Others may read it at the same time.
    Shared(Arc<T>),
    /// Somebody else has it, or it was never there.
    Away,
}

impl<T> Held<T> {
    /// Hands the value itself out.
    pub(crate) fn take(&mut self) -> Self {
        replace(self, Self::Away)
    }

    /// Hands a share of the value out.
    pub(crate) fn share(&mut self) -> Self {
        let shared = match self.take() {
            Self::Own(value) => Arc::new(value),
            Self::Shared(value) => value,
            Self::Away => return Self::Away,
        };
        *self = Self::Shared(Arc::clone(&shared));
        Self::Shared(shared)
    }

    /// Takes back what was handed out. Shares come to nothing.
    pub(crate) fn put_back(&mut self, lent: Self) {
        if let Self::Own(_) = lent {
            *self = lent;
        }
    }

    /// Owns the value again, after all shares are gone.
    pub(crate) fn reclaim(&mut self) {
        *self = match self.take() {
            Self::Shared(value) => Arc::into_inner(value).map_or(Self::Away, Self::Own),
            other => other,
        };
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Own(value) => value,
            Self::Shared(value) => value,
            Self::Away => away(),
        }
    }
}

impl<T> DerefMut for Held<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Own(value) => value,
            _ => away(),
        }
    }
}

#[cold]
fn away() -> ! {
    unreachable!("what a system touches is lent to it because its queries declare it")
}
