//! Work on several threads with an answer that does not depend on them.
//!
//! Threads take the items one after the other; the answers are put back into the order of the items. The threads live
//! as long as the call.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `map` with each item, on up to `threads` threads of which the caller is one, and `reduce` with each answer, in
/// the order of the items. A panic of `map` arrives at the caller.
pub(crate) fn map_in_order<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    map: impl Fn(T) -> R + Sync,
    reduce: impl FnMut(R),
) {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(map).for_each(reduce);
    }
    let mut answers: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let items: Vec<Mutex<Option<T>>> =
        items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    // Relaxed: the counter deals out numbers and orders nothing; each item is handed over by its own lock.
    let dealt = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let place = dealt.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(place)
        {
            let item =
                item.lock().expect("no poison because nothing happens under the lock").take();
            done.push((place, map(item.expect("an item because its number was dealt once"))));
        }
        done
    };
    let mut put = |done: Vec<(usize, R)>| {
        for (place, answer) in done {
            answers[place] = Some(answer);
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        put(work());
        for other in others {
            put(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
    });
    answers.into_iter().flatten().for_each(reduce);
}
