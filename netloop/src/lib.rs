//! QUIC on one pinned thread, exchanged with the rest through rings.

mod clock;
mod idle;
mod pin;
mod ring;
mod slab;
mod slot;
mod socket;
mod stats;
mod tls;
mod wheel;

pub use clock::{Clock, Now, process_cpu, rss_bytes, thread_cpu_ns};
pub use idle::{
    Idle, IdleStrategy, Pause, Sleeper, UnknownIdleStrategy, Waker, sharpen_timers, wait_until,
    wake_line,
};
pub use pin::{Pinned, pin};
pub use ring::{Consumer, Gauge, Producer, ring};
pub use slab::{Payload, Pool, SLAB_BYTES};
pub use slot::{NO_HINT, RECORD_BYTES, Slot};
pub use socket::{BindError, RecvDatagram, Socket, SocketCounts, SocketOptions, WouldBlock};
pub use stats::{BudgetStats, Counter, TierStats, WorkerStats};
pub use tls::{ALPN_POLLUX, ServerTls, TlsError, certificates_from_pem_file, client_tls};
pub use wheel::Wheel;
