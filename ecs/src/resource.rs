//! Resources: values of which a world holds one of each type.
//!
//! A system that needs a resource and the world at the same time takes the box out and puts it back; neither way
//! allocates, because the place of the type stays.

use std::any::{Any, TypeId};

#[derive(Default)]
pub(crate) struct Resources {
    /// A place for each type that was ever put, in order of arrival. A handful: a linear search finds it.
    places: Vec<(TypeId, Option<Box<dyn Any + Send + Sync>>)>,
}

impl Resources {
    /// Puts `value` in its place and returns what stood there.
    pub(crate) fn put<R: Any + Send + Sync>(&mut self, value: Box<R>) -> Option<Box<R>> {
        if let Some(place) = self.place_mut::<R>() {
            return place.replace(value).map(downcast);
        }
        self.places.push((TypeId::of::<R>(), Some(value)));
        None
    }

    /// Takes the value out and keeps its place.
    pub(crate) fn take<R: Any + Send + Sync>(&mut self) -> Option<Box<R>> {
        self.place_mut::<R>()?.take().map(downcast)
    }

    pub(crate) fn find<R: Any + Send + Sync>(&self) -> Option<&R> {
        let (_, place) = self.places.iter().find(|(id, _)| *id == TypeId::of::<R>())?;
        place.as_deref()?.downcast_ref()
    }

    pub(crate) fn find_mut<R: Any + Send + Sync>(&mut self) -> Option<&mut R> {
        self.place_mut::<R>()?.as_deref_mut()?.downcast_mut()
    }

    /// Everything, with its type, to be lent to systems.
    pub(crate) fn lend_all(&mut self) -> impl Iterator<Item = (TypeId, Hold<'_>)> {
        let places = self.places.iter_mut();
        places.filter_map(|(id, place)| Some((*id, Hold::Unique(place.as_deref_mut()?))))
    }

    fn place_mut<R: Any + Send + Sync>(
        &mut self,
    ) -> Option<&mut Option<Box<dyn Any + Send + Sync>>> {
        self.places.iter_mut().find(|(id, _)| *id == TypeId::of::<R>()).map(|(_, place)| place)
    }
}

/// A resource as a system receives it.
pub(crate) enum Hold<'w> {
    /// Others may read it at the same time.
    Shared(&'w (dyn Any + Send + Sync)),
    /// Nobody else sees it.
    Unique(&'w mut (dyn Any + Send + Sync)),
}

impl<'w> Hold<'w> {
    pub(crate) fn shared(&self) -> &(dyn Any + Send + Sync) {
        match self {
            Self::Shared(value) => *value,
            Self::Unique(value) => &**value,
        }
    }

    pub(crate) fn unique(&mut self) -> Option<&mut (dyn Any + Send + Sync)> {
        match self {
            Self::Shared(_) => None,
            Self::Unique(value) => Some(&mut **value),
        }
    }

    pub(crate) fn into_shared(self) -> &'w (dyn Any + Send + Sync) {
        match self {
            Self::Shared(value) => value,
            Self::Unique(value) => value,
        }
    }
}

fn downcast<R: Any + Send + Sync>(value: Box<dyn Any + Send + Sync>) -> Box<R> {
    value.downcast().expect("the type of its place because places are keyed by type")
}
