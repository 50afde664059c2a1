//! What a hot thread fills and a cold one reads, in boxes that go round between the two.
//!
//! All boxes are made at start. The hot thread writes into one that it owns and swaps it for an empty one; it waits for no
//! reader, never allocates and takes no lock. While no empty one has come back it goes on with the one it has. Emptying is
//! left to the cold thread. One wait there is: a cold thread that loses its core amid the few instructions of giving a box
//! back holds up the swap that would take that very box.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

/// The two ways of the boxes. Each could hold every box that was made for it.
#[derive(Debug)]
struct Ways<T> {
    spares: usize,
    filled: ArrayQueue<Box<T>>,
    cleared: ArrayQueue<Box<T>>,
}

/// The hot thread's end.
#[derive(Debug)]
pub(crate) struct HotEnd<T>(Arc<Ways<T>>);

/// The cold thread's end. Where there are several, each box comes to one of them.
#[derive(Debug)]
pub(crate) struct ColdEnd<T>(Arc<Ways<T>>);

impl<T> Clone for ColdEnd<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Makes the two ends, the box to write into first, and so many beside it.
pub(crate) fn exchange<T>(
    spares: usize,
    make: impl Fn() -> Box<T>,
) -> (HotEnd<T>, ColdEnd<T>, Box<T>) {
    let [filled, cleared] = [(); 2].map(|()| ArrayQueue::new(spares + 1));
    let ways = Arc::new(Ways { spares, filled, cleared });
    let cold = ColdEnd(Arc::clone(&ways));
    (0..spares).for_each(|_| cold.recycle(make()));
    (HotEnd(ways), cold, make())
}

impl<T> HotEnd<T> {
    /// Hands the box over and leaves an empty one, once `turn` has had both: the end of the one is the begin of the other.
    /// Without an empty one it changes nothing and says `false`.
    pub(crate) fn swap(&self, current: &mut Box<T>, turn: impl FnOnce(&mut T, &mut T)) -> bool {
        // The last place is kept for the last box, also where boxes of another exchange were given back to this one.
        if self.0.filled.len() >= self.0.spares {
            return false;
        }
        let Some(mut next) = self.0.cleared.pop() else { return false };
        turn(current, &mut next);
        self.finish(std::mem::replace(current, next));
        true
    }

    /// Hands the last box over.
    pub(crate) fn finish(&self, last: Box<T>) {
        let Ok(()) = self.0.filled.push(last) else {
            panic!("the queue has room because a place is kept for the last box")
        };
    }
}

impl<T> ColdEnd<T> {
    /// The oldest box that was handed over.
    pub(crate) fn poll(&self) -> Option<Box<T>> {
        self.0.filled.pop()
    }

    /// Gives an emptied box back. One that finds no place, as one of another exchange may, is freed here, on the cold side.
    pub(crate) fn recycle(&self, emptied: Box<T>) {
        drop(self.0.cleared.push(emptied));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_end_goes_on_with_its_box_until_one_comes_back() {
        let (hot, cold, mut current) = exchange(1, || Box::new(Vec::new()));
        for value in 0..3 {
            current.push(value);
            // Two boxes: the first swap finds the spare, the others none.
            assert_eq!(hot.swap(&mut current, |_, _| {}), value == 0);
        }
        let mut first = cold.poll().unwrap();
        assert_eq!((*first, cold.poll()), (vec![0], None));
        first = Box::default();
        cold.recycle(first);
        assert!(hot.swap(&mut current, |done, next| next.push(done.len() as i32)));
        assert_eq!((cold.poll(), current), (Some(Box::new(vec![1, 2])), Box::new(vec![2])));
    }

    #[test]
    fn last_box_finds_room_when_nobody_has_read() {
        let (hot, cold, mut current) = exchange(2, || Box::new(0));
        for value in 1..=2 {
            *current = value;
            assert!(hot.swap(&mut current, |_, _| {}));
        }
        hot.finish(Box::new(3));
        let read: Vec<i32> = std::iter::from_fn(|| cold.poll()).map(|one| *one).collect();
        assert_eq!(read, [1, 2, 3]);
    }

    #[test]
    fn boxes_of_another_exchange_leave_the_last_box_its_place() {
        let (hot, cold, mut current) = exchange(1, || Box::new(0));
        for value in 1..=5 {
            *current = value;
            hot.swap(&mut current, |_, next| *next = 0);
            cold.recycle(Box::new(9));
        }
        hot.finish(current);
        let read: Vec<i32> = std::iter::from_fn(|| cold.poll()).map(|one| *one).collect();
        assert_eq!(read, [1, 5]);
    }
}
