//! Places of connections at the door: no more than so many, and whoever has shown nothing keeps no place from who comes next.
//!
//! A connection shows something when a request on it passes the guard, or when its certificate was verified. Until then its
//! place is lent: where an address has too many of those, or all places are taken, the oldest gives way to the new one, which
//! has as long to show something as the others take to come. Only connections that have all shown something refuse a new one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// Connections that ask at the same time; streams that are watched have a limit of their own.
pub(super) const PLACES_MAX: usize = 256;
/// Places that are lent to one address: a quarter, so that one host that says nothing never displaces what came from another.
/// A browser opens six connections, and a gateway stands before ten of them.
pub(super) const LENT_MAX: usize = PLACES_MAX / 4;

/// All places of a door.
#[derive(Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    next: u64,
    /// By the order in which they came.
    seats: BTreeMap<u64, Seat>,
}

struct Seat {
    address: IpAddr,
    is_lent: bool,
    leave: Arc<Notify>,
}

/// A place, for as long as it lives.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
}

impl Places {
    /// Lends a place to a connection from an address; nothing where none is free and none gives way.
    pub(super) fn lend(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut taken = self.taken();
        let mut lent = taken.lent().filter(|(_, seat)| seat.address == address);
        let oldest_here = lent.next().map(|(number, _)| number);
        if 1 + lent.count() >= LENT_MAX {
            taken.end(oldest_here?);
        } else if taken.seats.len() >= PLACES_MAX {
            let oldest = taken.lent().next().map(|(number, _)| number);
            taken.end(oldest?);
        }
        let (number, leave) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.seats.insert(number, Seat { address, is_lent: true, leave: Arc::clone(&leave) });
        Some(Place { places: Arc::clone(self), number, leave })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().expect("because the cold thread has not panicked")
    }
}

impl Taken {
    fn lent(&self) -> impl Iterator<Item = (u64, &Seat)> {
        self.seats.iter().filter(|(_, seat)| seat.is_lent).map(|(number, seat)| (*number, seat))
    }

    fn end(&mut self, number: u64) {
        if let Some(seat) = self.seats.remove(&number) {
            seat.leave.notify_one();
        }
    }
}

/// What counts as one address: all of the network that one host of IPv6 can choose its addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

impl Place {
    /// The connection has shown who it is, and gives way to nobody from now on.
    pub(super) fn keep(&self) {
        if let Some(seat) = self.places.taken().seats.get_mut(&self.number) {
            seat.is_lent = false;
        }
    }

    /// Ends when the place was given to another connection.
    pub(super) async fn given_away(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn host(number: usize) -> IpAddr {
        IpAddr::from([10, 0, (number >> 8) as u8, number as u8])
    }

    fn is_given_away(place: &Place) -> bool {
        pin!(place.given_away()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// How many of these were given away, and whether it were the first ones.
    fn displaced(places: &[Place]) -> (usize, bool) {
        let gone: Vec<bool> = places.iter().map(is_given_away).collect();
        let count = gone.iter().filter(|&&gone| gone).count();
        (count, gone[..count].iter().all(|&gone| gone))
    }

    #[test]
    fn one_address_takes_no_more_than_its_share_and_its_oldest_gives_way() {
        let places = Arc::<Places>::default();
        let other = places.lend(host(1)).unwrap();
        let held: Vec<_> = (0..1000).map(|_| places.lend(host(0)).unwrap()).collect();
        assert_eq!(displaced(&held), (1000 - LENT_MAX, true));
        assert!(!is_given_away(&other), "another address loses nothing");
        assert_eq!(places.taken().seats.len(), 1 + LENT_MAX);
    }

    #[test]
    fn where_all_are_taken_the_oldest_that_has_shown_nothing_gives_way() {
        let places = Arc::<Places>::default();
        let held: Vec<_> = (0..PLACES_MAX).map(|at| places.lend(host(at)).unwrap()).collect();
        held[0].keep();
        let late = places.lend(host(1000)).unwrap();
        assert!(!is_given_away(&held[0]) && is_given_away(&held[1]) && !is_given_away(&held[2]));
        assert!(!is_given_away(&late));
    }

    #[test]
    fn only_places_that_are_kept_refuse_a_new_one() {
        let places = Arc::<Places>::default();
        let mut held: Vec<_> = (0..PLACES_MAX).map(|at| places.lend(host(at)).unwrap()).collect();
        held.iter().for_each(Place::keep);
        assert!(places.lend(host(1000)).is_none());
        assert_eq!(displaced(&held), (0, true));
        held.pop();
        assert!(places.lend(host(1000)).is_some(), "a place that was left is free");
    }

    #[test]
    fn addresses_of_one_host_are_one() {
        let network = |text: &str| super::network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2:ffff::"));
        assert_ne!(network("2001:db8:1:2:3::4"), network("2001:db8:1:3:3::4"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("::ffff:10.0.0.1"), network("::ffff:10.0.0.2"));
    }
}
