//! What goes to and fro between a worker and whoever has something to show to viewers.
//!
//! Two bounded lines without locks. Neither end waits for the other: an event that finds no room stays with the worker, and
//! an order that finds none comes back to whoever gave it.

use crate::{ViewerEvent, ViewerOrder, Waker};

/// Events and orders that may be on their way.
const LANE_MAX: usize = 1024;

/// The worker's end.
pub struct ViewerPort {
    events: rtrb::Producer<ViewerEvent>,
    orders: rtrb::Consumer<ViewerOrder>,
}

/// The other end.
pub struct ViewerDesk {
    events: rtrb::Consumer<ViewerEvent>,
    orders: rtrb::Producer<ViewerOrder>,
    waker: Waker,
}

/// Makes the two ends. `waker` is the worker's.
#[must_use]
pub fn viewer_lane(waker: Waker) -> (ViewerDesk, ViewerPort) {
    let (events, events_out) = rtrb::RingBuffer::new(LANE_MAX);
    let (orders, orders_out) = rtrb::RingBuffer::new(LANE_MAX);
    let desk = ViewerDesk { events: events_out, orders, waker };
    (desk, ViewerPort { events, orders: orders_out })
}

impl ViewerPort {
    pub(crate) fn push(&mut self, event: ViewerEvent) -> Result<(), ViewerEvent> {
        self.events.push(event).map_err(|rtrb::PushError::Full(event)| event)
    }

    pub(crate) fn pop(&mut self) -> Option<ViewerOrder> {
        self.orders.pop().ok()
    }
}

impl ViewerDesk {
    /// What a viewer asks or says.
    pub fn poll(&mut self) -> Option<ViewerEvent> {
        self.events.pop().ok()
    }

    /// Lets the worker do something for a viewer, and wakes it.
    ///
    /// # Errors
    /// The worker has not taken the earlier ones yet: the order comes back.
    pub fn push(&mut self, order: ViewerOrder) -> Result<(), ViewerOrder> {
        let pushed = self.orders.push(order).map_err(|rtrb::PushError::Full(order)| order);
        self.waker.wake();
        pushed
    }
}
