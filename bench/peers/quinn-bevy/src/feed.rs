//! The channels between the sessions and the tick thread: one bounded tokio channel for each tier.
//!
//! tokio's mpsc is what a tokio program reaches for. The capacities are those of the prototype that
//! this build repeats, 512 for T2, 256 for T3 and, unless the command line says otherwise, 1,024 items
//! for T1. A full T1 channel sheds; T2 and T3 wait, which QUIC's flow control passes on to the device.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::{args::Channel, record::Record};

/// Records that the T2 channel holds.
const T2_RECORDS: usize = 512;
/// Commands that the T3 channel holds.
const T3_COMMANDS: usize = 256;

/// One item of the T1 channel, with the time at which quinn handed its datagram over.
pub(crate) enum T1Item {
    /// One record on its own.
    Record(Record, Instant),
    /// All records of one datagram, in one allocation.
    Datagram(Vec<Record>, Instant),
}

/// A T3 record and the way back to the stream that waits for its ack.
pub(crate) struct Command {
    /// What was asked.
    pub(crate) record: Record,
    /// Takes the ack once the record is applied.
    pub(crate) reply: oneshot::Sender<Record>,
}

/// The sending ends; each task holds a clone.
#[derive(Clone)]
pub(crate) struct Feed {
    /// Form of a T1 item.
    pub(crate) channel: Channel,
    /// T1: never waits.
    pub(crate) t1: mpsc::Sender<T1Item>,
    /// T2: waits.
    pub(crate) t2: mpsc::Sender<Record>,
    /// T3: waits.
    pub(crate) t3: mpsc::Sender<Command>,
}

/// The receiving ends, owned by the world.
pub(crate) struct Receivers {
    /// T1 items.
    pub(crate) t1: mpsc::Receiver<T1Item>,
    /// T2 records.
    pub(crate) t2: mpsc::Receiver<Record>,
    /// T3 commands.
    pub(crate) t3: mpsc::Receiver<Command>,
}

/// Makes the three channels, that of T1 for so many items.
pub(crate) fn channels(channel: Channel, t1_items: usize) -> (Feed, Receivers) {
    let (t1, t1_receiver) = mpsc::channel(t1_items);
    let (t2, t2_receiver) = mpsc::channel(T2_RECORDS);
    let (t3, t3_receiver) = mpsc::channel(T3_COMMANDS);
    let receivers = Receivers { t1: t1_receiver, t2: t2_receiver, t3: t3_receiver };
    (Feed { channel, t1, t2, t3 }, receivers)
}
