//! QUIC on one pinned thread, exchanged with the rest through rings.

mod addresses;
mod admission;
mod alpn;
mod audit;
mod backlog;
mod clock;
mod command;
mod confine;
mod congestion;
mod drops;
mod engine;
mod event;
mod fairness;
mod handover;
mod handshake;
mod health;
mod heap;
mod identity;
mod idle;
mod inbound;
mod key_exchange;
mod keys;
mod ledger;
mod limits;
mod memory;
mod naming;
mod outbound;
mod padding;
mod path;
mod pin;
mod port;
mod prefetch;
mod priority;
mod quantile;
mod rate;
mod rest;
mod ring;
mod run;
mod sending;
mod session;
mod sink;
mod slab;
mod slice;
pub mod slot;
mod socket;
mod stats;
mod streams;
mod tally;
mod tls;
mod tokens;
mod trust;
mod usage;
mod viewer;
mod viewer_lane;
mod wheel;
mod worker;

pub use audit::{Renewal, Renewals, Renewer, renewals};
pub use clock::{Clock, Now, rss_bytes, thread_cpu_ns};
pub use command::CommandError;
pub use confine::{ConfineError, confine};
pub use congestion::{Congestion, UnknownCongestion};
pub use drops::socket_drops;
pub use engine::{ConnectError, Datagram, Engine};
pub use event::{CloseReason, SessionEvent, SessionId};
pub use handover::{Handover, Posts};
pub use health::Health;
#[cfg(target_env = "musl")]
pub use heap::Heap;
pub use heap::{LARGE_BLOCK_BYTES, map_large_blocks, prepare_heap};
pub use identity::{Refusal, certificate_sha256, certificate_validity_s};
pub use idle::{
    Idle, IdleStrategy, Pause, Punctual, Sleeper, UnknownIdleStrategy, Waker, sharpen_timers,
    wait_until, wake_line,
};
pub use ledger::{GapCause, Gaps, Ledger};
pub use limits::{AddressLimits, HandshakeLimits, SessionLimits};
pub use memory::{LockError, lock_memory, locked_bytes};
pub use naming::{Naming, Steering, WorkerNumber};
pub use outbound::{SendError, SendStream};
pub use path::{PathReport, PathStep};
pub use pin::{Pinned, keep_off, pin};
pub use port::{Due, Outbound, PathLane, Port, RingPort};
pub use priority::set_niceness;
pub use ring::{Consumer, Gauge, Producer, ring};
pub use run::{RUN_RECORDS_MAX, Run, Runs, lines_of};
pub use sending::StreamPriority;
pub use session::{EarlyData, Phase};
pub use sink::{Answer, Sink};
pub use slab::{Payload, Pool, SLAB_BYTES};
pub use slice::set_slice;
pub use slot::{NO_HINT, Slot};
pub use socket::{BindError, RecvDatagram, Socket, SocketCounts, SocketOptions, WouldBlock};
pub use stats::{BudgetStats, Counter, Stage, StageMark, TierStats, WorkerStats};
pub use tally::{EngineTally, Limit, TierTally};
pub use tls::{
    ClientIdentity, ServerTls, TlsError, certificates_from_pem_file, client_tls, client_tls_as,
    revocation_lists_from_pem_file,
};
pub use trust::{ClientAuth, Tokens, TokensError, Trust, short_chains};
pub use usage::{ThreadUsage, process_cpu};
pub use viewer::{TICKET_BYTES, ViewerEvent, ViewerOrder};
pub use viewer_lane::{ViewerDesk, ViewerPort, viewer_lane};
pub use wheel::Wheel;
pub use worker::{Stop, Worker, WorkerConfig};
