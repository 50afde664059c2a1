//! One session: a task for its datagrams, a task that accepts each kind of stream, and a task for
//! each stream.
//!
//! A payload that is no whole number of records, or a record of no known type, is one decode error.
//! In a datagram it costs that datagram or that record; on a stream it ends the stream. The session
//! lives on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use quinn::{Connection, Incoming, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, oneshot};

use crate::{
    args::Channel,
    feed::{Command, Feed, T1Item},
    record::{RECORD_BYTES, Record, whole_records},
};

/// First bytes of the stream on which a client of the product introduces itself.
const HELLO: &[u8; 8] = b"pollux\x01\n";

/// Bytes read from a T2 stream at once: some 400 records.
const STREAM_BUFFER_BYTES: usize = 16 << 10;

/// Tells the sender of a stream that its bytes were no records.
const BAD_RECORD: VarInt = VarInt::from_u32(1);

/// What the network side counts. Relaxed atomics, as a metrics crate would use: they are read once,
/// after the last task.
#[derive(Default)]
pub(crate) struct Counters {
    /// Sessions whose handshake completed.
    pub(crate) sessions: AtomicU64,
    /// Handshakes that failed.
    pub(crate) handshakes_failed: AtomicU64,
    /// Records decoded from T1.
    pub(crate) received_t1: AtomicU64,
    /// Records decoded from T2.
    pub(crate) received_t2: AtomicU64,
    /// Records decoded from T3.
    pub(crate) received_t3: AtomicU64,
    /// T1 records shed because the channel was full.
    pub(crate) shed_channel: AtomicU64,
    /// Payloads, records and stream tails that were refused.
    pub(crate) decode_errors: AtomicU64,
    /// DATAGRAM frames that this program read from quinn.
    pub(crate) datagrams_read: AtomicU64,
    /// DATAGRAM frames that quinn received, summed over ended sessions.
    pub(crate) datagrams_received: AtomicU64,
    /// UDP packets that quinn received, summed over ended sessions.
    pub(crate) packets: AtomicU64,
}

/// Serves one session until it closes.
pub(crate) async fn run(incoming: Incoming, feed: Feed, counters: Arc<Counters>) {
    let Ok(connection) = incoming.await else {
        counters.handshakes_failed.fetch_add(1, Relaxed);
        return;
    };
    counters.sessions.fetch_add(1, Relaxed);
    let events =
        tokio::spawn(accept_events(connection.clone(), feed.t2.clone(), Arc::clone(&counters)));
    let commands =
        tokio::spawn(accept_commands(connection.clone(), feed.t3.clone(), Arc::clone(&counters)));
    read_datagrams(&connection, &feed, &counters).await;
    let _ = tokio::join!(events, commands);
    let stats = connection.stats();
    counters.packets.fetch_add(stats.udp_rx.datagrams, Relaxed);
    counters.datagrams_received.fetch_add(stats.frame_rx.datagram, Relaxed);
}

/// T1: decodes and hands over until the connection closes.
async fn read_datagrams(connection: &Connection, feed: &Feed, counters: &Counters) {
    while let Ok(payload) = connection.read_datagram().await {
        let received = Instant::now();
        counters.datagrams_read.fetch_add(1, Relaxed);
        let Some(records) = whole_records(&payload) else {
            counters.decode_errors.fetch_add(1, Relaxed);
            continue;
        };
        let offered = records.len();
        let decoded = records.filter_map(Record::decode);
        let (received_records, shed) = match feed.channel {
            Channel::Records => push_records(decoded, received, &feed.t1),
            Channel::Datagrams => push_datagram(decoded, offered, received, &feed.t1),
        };
        counters.received_t1.fetch_add(received_records as u64, Relaxed);
        if shed > 0 {
            counters.shed_channel.fetch_add(shed as u64, Relaxed);
        }
        if received_records < offered {
            counters.decode_errors.fetch_add((offered - received_records) as u64, Relaxed);
        }
    }
}

/// Pushes records one at a time; gives how many there were and how many of them were shed.
fn push_records(
    records: impl Iterator<Item = Record>,
    received: Instant,
    t1: &mpsc::Sender<T1Item>,
) -> (usize, usize) {
    records.fold((0, 0), |(count, shed), record| {
        let full = t1.try_send(T1Item::Record(record, received)).is_err();
        (count + 1, shed + usize::from(full))
    })
}

/// Pushes the records of one datagram as one item; gives how many there were and how many of them
/// were shed.
fn push_datagram(
    records: impl Iterator<Item = Record>,
    offered: usize,
    received: Instant,
    t1: &mpsc::Sender<T1Item>,
) -> (usize, usize) {
    // `filter_map` promises no lower bound, so `collect` would grow the vector step by step.
    let mut batch = Vec::with_capacity(offered);
    batch.extend(records);
    let count = batch.len();
    let full = count > 0 && t1.try_send(T1Item::Datagram(batch, received)).is_err();
    (count, if full { count } else { 0 })
}

/// T2: a task for each unidirectional stream.
async fn accept_events(connection: Connection, t2: mpsc::Sender<Record>, counters: Arc<Counters>) {
    while let Ok(stream) = connection.accept_uni().await {
        tokio::spawn(read_events(stream, t2.clone(), Arc::clone(&counters)));
    }
}

/// Reads one T2 stream to its end. A reset or a lost connection ends it too: what came before
/// counts.
async fn read_events(mut stream: RecvStream, t2: mpsc::Sender<Record>, counters: Arc<Counters>) {
    let mut buffer = vec![0; STREAM_BUFFER_BYTES];
    let mut filled = 0;
    let mut opening = stream.id().index() == 0;
    while let Ok(Some(count)) = stream.read(&mut buffer[filled..]).await {
        filled += count;
        if opening && filled >= HELLO.len() {
            opening = false;
            if buffer.starts_with(HELLO) {
                return skip(stream, buffer).await;
            }
        }
        if opening {
            continue;
        }
        let whole = filled - filled % RECORD_BYTES;
        for bytes in buffer[..whole].chunks_exact(RECORD_BYTES) {
            let Some(record) = Record::decode(bytes) else {
                counters.decode_errors.fetch_add(1, Relaxed);
                let _ = stream.stop(BAD_RECORD);
                return;
            };
            counters.received_t2.fetch_add(1, Relaxed);
            if t2.send(record).await.is_err() {
                return;
            }
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    if filled > 0 {
        counters.decode_errors.fetch_add(1, Relaxed);
    }
}

/// Reads a stream to its end and forgets it.
async fn skip(mut stream: RecvStream, mut buffer: Vec<u8>) {
    while let Ok(Some(_)) = stream.read(&mut buffer).await {}
}

/// T3: a task for each bidirectional stream.
async fn accept_commands(
    connection: Connection,
    t3: mpsc::Sender<Command>,
    counters: Arc<Counters>,
) {
    while let Ok((reply, request)) = connection.accept_bi().await {
        tokio::spawn(answer_command(request, reply, t3.clone(), Arc::clone(&counters)));
    }
}

/// One exchange: a record in, its ack out once the tick has applied it. Without an ack the stream
/// is reset.
async fn answer_command(
    mut request: RecvStream,
    mut stream: SendStream,
    t3: mpsc::Sender<Command>,
    counters: Arc<Counters>,
) {
    let mut bytes = [0; RECORD_BYTES];
    let complete = request.read_exact(&mut bytes).await.is_ok();
    let Some(record) = complete.then(|| Record::decode(&bytes)).flatten() else {
        counters.decode_errors.fetch_add(1, Relaxed);
        let _ = stream.reset(BAD_RECORD);
        return;
    };
    counters.received_t3.fetch_add(1, Relaxed);
    let (reply, ack) = oneshot::channel();
    if t3.send(Command { record, reply }).await.is_err() {
        return;
    }
    if let Ok(ack) = ack.await {
        // A client that left in between has no use for the ack.
        let _ = stream.write_all(&ack.encode()).await;
        let _ = stream.finish();
    }
}
