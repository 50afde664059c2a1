//! What a world owns and lends to the systems of a stage that runs in parallel: columns, names of rows, resources.
//!
//! A system that writes receives the value itself, systems that read share it, and the world has it back before anyone
//! else looks. So the compiler proves that no two systems share what one of them writes; nothing is locked, and nothing
//! is checked for each row.

use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value, a share of one, or the place of one that is lent.
///
/// Where the value is lent, an empty one lies in its place: a walk that writes goes straight to the value, and the bounds of
/// what it finds there refuse a walk that should not be there.
#[derive(Default)]
pub(crate) struct Held<T> {
    own: T,
    holder: Holder<T>,
}

#[derive(Default)]
enum Holder<T> {
    /// Nobody else sees it.
    Own,
    /// Others may read it at the same time.
    Shared(Arc<T>),
    /// Somebody else has it, or it was never there.
    #[default]
    Away,
}

impl<T> From<T> for Held<T> {
    fn from(own: T) -> Self {
        Self { own, holder: Holder::Own }
    }
}

impl<T: Default> Held<T> {
    /// The value, unless it is shared or away.
    pub(crate) fn into_own(self) -> Option<T> {
        matches!(self.holder, Holder::Own).then_some(self.own)
    }

    /// Hands the value itself out.
    pub(crate) fn take(&mut self) -> Self {
        take(self)
    }

    /// Hands a share of the value out.
    pub(crate) fn share(&mut self) -> Self {
        let Self { own, holder } = self.take();
        let shared = match holder {
            Holder::Own => Arc::new(own),
            Holder::Shared(value) => value,
            Holder::Away => return Self::default(),
        };
        self.holder = Holder::Shared(Arc::clone(&shared));
        Self { holder: Holder::Shared(shared), ..Self::default() }
    }

    /// Takes back what was handed out. Shares come to nothing.
    pub(crate) fn put_back(&mut self, lent: Self) {
        if let Holder::Own = lent.holder {
            *self = lent;
        }
    }

    /// Owns the value again, after all shares are gone.
    pub(crate) fn reclaim(&mut self) {
        let Self { own, holder } = self.take();
        *self = match holder {
            Holder::Shared(value) => Arc::into_inner(value).map_or_else(Self::default, Self::from),
            holder => Self { own, holder },
        };
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.holder {
            Holder::Shared(value) => value,
            _ => &self.own,
        }
    }
}

impl<T> DerefMut for Held<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.own
    }
}
