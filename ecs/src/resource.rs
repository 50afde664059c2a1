//! Resources: values of which a world holds one of each type.
//!
//! A system that needs a resource and the world at the same time takes the box out and puts it back; neither way
//! allocates, because the place of the type stays.

use std::any::{Any, TypeId};

use crate::held::Held;
use crate::part::ResourceGrant;

type Place = Held<Option<Box<dyn Any + Send + Sync>>>;

#[derive(Default)]
pub(crate) struct Resources {
    /// A place for each type that was ever put, in order of arrival. A handful: a linear search finds it.
    places: Vec<(TypeId, Place)>,
}

impl Resources {
    /// Puts `value` in its place and returns what stood there.
    pub(crate) fn put<R: Any + Send + Sync>(&mut self, value: Box<R>) -> Option<Box<R>> {
        let old = self.take();
        match self.place_mut::<R>() {
            Some(place) => *place = Held::from(Some(value as _)),
            None => self.places.push((TypeId::of::<R>(), Held::from(Some(value as _)))),
        }
        old
    }

    /// Takes the value out and keeps its place.
    pub(crate) fn take<R: Any + Send + Sync>(&mut self) -> Option<Box<R>> {
        self.place_mut::<R>()?.take().into_own()??.downcast().ok()
    }

    pub(crate) fn find<R: Any + Send + Sync>(&self) -> Option<&R> {
        let (_, place) = self.places.iter().find(|(id, _)| *id == TypeId::of::<R>())?;
        place.as_ref()?.downcast_ref()
    }

    pub(crate) fn find_mut<R: Any + Send + Sync>(&mut self) -> Option<&mut R> {
        self.place_mut::<R>()?.as_mut()?.downcast_mut()
    }

    /// Hands out what a system has declared.
    pub(crate) fn check_out(&mut self, grant: &ResourceGrant) -> Self {
        let lent = self.places.iter_mut().map(|(id, place)| match () {
            () if grant.writes(*id) => (*id, place.take()),
            () if grant.reads(*id) => (*id, place.share()),
            () => (*id, Held::default()),
        });
        Self { places: lent.collect() }
    }

    /// Takes back what [`Resources::check_out`] has handed out.
    pub(crate) fn check_in(&mut self, lent: Self) {
        for ((_, place), (_, lent)) in self.places.iter_mut().zip(lent.places) {
            place.put_back(lent);
        }
    }

    /// Owns everything again, after all that was handed out is back.
    pub(crate) fn reclaim(&mut self) {
        self.places.iter_mut().for_each(|(_, place)| place.reclaim());
    }

    fn place_mut<R: Any>(&mut self) -> Option<&mut Place> {
        let mut places = self.places.iter_mut();
        places.find(|(id, _)| *id == TypeId::of::<R>()).map(|(_, place)| place)
    }
}
