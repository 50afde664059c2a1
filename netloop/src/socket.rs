//! The UDP socket: receives runs of datagrams into lent slabs (GRO), sends runs in one call (GSO), and knows ECN marks
//! and the kernel's receive time.
//!
//! Never blocks. What the network or the kernel refuses is counted, not reported one by one: QUIC repairs losses. Only
//! a full send buffer is an error, because the caller still holds the datagram and can send it later. A datagram is
//! never truncated: a slab holds the largest run that the kernel delivers.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::AddAssign;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use quinn_proto::EcnCodepoint;
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::slab::{Payload, Pool};

/// Wishes for a socket. The kernel may grant smaller buffers; [`Socket::recv_buffer_bytes`] tells.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Receive buffer in bytes: it must hold what arrives during the longest stall.
    pub recv_buffer_bytes: usize,
    /// Send buffer in bytes.
    pub send_buffer_bytes: usize,
    /// Lets several sockets share the port; the kernel spreads the flows over them.
    pub reuse_port: bool,
}

impl Default for SocketOptions {
    /// 4 MiB and 1 MiB, a port of its own. 4 MiB hold 25 ms of a saturated gigabit link.
    fn default() -> Self {
        Self { recv_buffer_bytes: 4 << 20, send_buffer_bytes: 1 << 20, reuse_port: false }
    }
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the address and port.
    #[error("{addr} is in use by another socket")]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// No interface of this host has the address.
    #[error("{addr} is not an address of this host")]
    NotAvailable {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The process may not bind the address; ports below 1024 need a capability.
    #[error("no permission to bind {addr}")]
    Permission {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Anything else, in the kernel's words.
    #[error("cannot open a UDP socket on {addr}")]
    Other {
        /// The address asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BindError {
    fn new(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { addr },
            io::ErrorKind::AddrNotAvailable => Self::NotAvailable { addr },
            io::ErrorKind::PermissionDenied => Self::Permission { addr },
            _ => Self::Other { addr, source },
        }
    }
}

/// The send buffer is full; the caller keeps the datagrams and sends them later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the send buffer is full")]
pub struct WouldBlock;

/// One datagram, as the engine takes it.
#[derive(Debug)]
pub struct RecvDatagram {
    /// Who sent it.
    pub remote: SocketAddr,
    /// The local address it was sent to, where the kernel says.
    pub local_ip: Option<IpAddr>,
    /// Its congestion mark, where [`Socket::reads_ecn`].
    pub ecn: Option<EcnCodepoint>,
    /// Its bytes, on loan from the pool.
    pub data: Payload,
    /// When the kernel received it, in nanoseconds since the Unix epoch. Datagrams that the kernel merged share the
    /// time of the first. Nothing where the kernel gives no time.
    pub kernel_unix_ns: Option<u64>,
}

/// What a socket has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounts {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams handed to the kernel.
    pub datagrams_out: u64,
    /// UDP payload bytes received.
    pub bytes_in: u64,
    /// UDP payload bytes handed to the kernel.
    pub bytes_out: u64,
    /// Receive system calls.
    pub recv_calls: u64,
    /// Send system calls.
    pub send_calls: u64,
    /// Sends refused because the buffer was full.
    pub would_block: u64,
    /// Datagrams larger than the path allows, discarded by the kernel: probes of the path's MTU.
    pub oversized: u64,
    /// Receives that failed for another reason than an empty socket.
    pub recv_errors: u64,
    /// Sends that failed otherwise; what they carried is lost to QUIC's loss recovery.
    pub send_errors: u64,
}

impl AddAssign for SocketCounts {
    fn add_assign(&mut self, other: Self) {
        self.datagrams_in += other.datagrams_in;
        self.datagrams_out += other.datagrams_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.recv_calls += other.recv_calls;
        self.send_calls += other.send_calls;
        self.would_block += other.would_block;
        self.oversized += other.oversized;
        self.recv_errors += other.recv_errors;
        self.send_errors += other.send_errors;
    }
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    local_addr: SocketAddr,
    reads_ecn: bool,
    recv_buffer_bytes: usize,
    send_buffer_bytes: usize,
    /// Receive slots offered to the next call: see [`Socket::recv`].
    width: usize,
    counts: SocketCounts,
}

/// Receive slots of one call, at most.
const WIDTH_MAX: usize = quinn_udp::BATCH_SIZE;
/// Receive slots offered to a call that found little before. Preparing 32 costs 200 ns more than preparing one.
const WIDTH_MIN: usize = 4;

impl Socket {
    /// Opens a socket on `addr`. Port 0 lets the kernel choose; an unspecified IPv6 address serves IPv4 too.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the address and the reason.
    pub fn bind(addr: SocketAddr, options: SocketOptions) -> Result<Self, BindError> {
        Self::open(addr, options).map_err(|source| BindError::new(addr, source))
    }

    fn open(addr: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.set_recv_buffer_size(options.recv_buffer_bytes)?;
        socket.set_send_buffer_size(options.send_buffer_bytes)?;
        socket.bind(&addr.into())?;
        let recv_buffer_bytes = granted(socket.recv_buffer_size()?);
        let send_buffer_bytes = granted(socket.send_buffer_size()?);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let reads_ecn = !addr.ip().is_unspecified();
        make_room(&SockRef::from(&socket), addr, reads_ecn)?;
        let socket = UdpSocket::from(socket);
        Ok(Self {
            state,
            local_addr: socket.local_addr()?,
            reads_ecn,
            socket,
            recv_buffer_bytes,
            send_buffer_bytes,
            width: WIDTH_MIN,
            counts: SocketCounts::default(),
        })
    }

    /// A second handle of the same socket: what one of them receives, the other does not. It counts for itself.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn share(&self) -> io::Result<Self> {
        let socket = self.socket.try_clone()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // That has set the options of the socket, which both handles have in common, anew.
        make_room(&SockRef::from(&socket), self.local_addr, self.reads_ecn)?;
        Ok(Self { state, socket, counts: SocketCounts::default(), width: WIDTH_MIN, ..*self })
    }

    /// The address and port it is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The receive buffer that the kernel granted, in bytes; `net.core.rmem_max` bounds it.
    #[must_use]
    pub fn recv_buffer_bytes(&self) -> usize {
        self.recv_buffer_bytes
    }

    /// The send buffer that the kernel granted, in bytes; `net.core.wmem_max` bounds it.
    #[must_use]
    pub fn send_buffer_bytes(&self) -> usize {
        self.send_buffer_bytes
    }

    /// Datagrams that one [`Socket::send`] may carry: 1 without segmentation offload, and from the moment when a
    /// network card turned out not to have it.
    #[must_use]
    pub fn max_gso_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Whether ECN marks of received datagrams are known: on a socket that is bound to one address.
    #[must_use]
    pub fn reads_ecn(&self) -> bool {
        self.reads_ecn
    }

    /// What the socket has done so far.
    #[must_use]
    pub fn counts(&self) -> SocketCounts {
        self.counts
    }

    /// Receives with at most `calls_max` system calls and hands each datagram to `sink`. Returns whether the socket
    /// was drained; `false` means that the budget ended first and more may wait.
    ///
    /// A call offers few slots until one fills them all, then twice as many: a quiet socket is looked at cheaply, and
    /// a busy one is emptied 32 runs at a time.
    pub fn recv(
        &mut self,
        pool: &mut Pool,
        calls_max: usize,
        sink: &mut impl FnMut(RecvDatagram),
    ) -> bool {
        let mut metas = [RecvMeta::default(); WIDTH_MAX];
        for _ in 0..calls_max {
            let offered = self.width.min(pool.slots());
            let filled = match self.recv_once(pool, offered, &mut metas) {
                Ok(filled) => filled,
                Err(error) => {
                    self.counts.recv_errors += u64::from(error.kind() != io::ErrorKind::WouldBlock);
                    return true;
                }
            };
            for (slot, meta) in metas[..filled].iter().enumerate() {
                self.split(meta, pool.take(slot, meta.len), sink);
            }
            if filled < offered {
                self.width = filled.next_power_of_two().clamp(WIDTH_MIN, WIDTH_MAX);
                return true;
            }
            self.width = (self.width * 2).min(WIDTH_MAX);
        }
        false
    }

    fn recv_once(
        &mut self,
        pool: &mut Pool,
        offered: usize,
        metas: &mut [RecvMeta; WIDTH_MAX],
    ) -> io::Result<usize> {
        self.counts.recv_calls += 1;
        let mut lent = pool.lend(offered);
        let mut slots: [IoSliceMut<'_>; WIDTH_MAX] =
            std::array::from_fn(|_| IoSliceMut::new(lent.next().unwrap_or_default()));
        self.state.recv(UdpSockRef::from(&self.socket), &mut slots[..offered], metas)
    }

    /// Cuts a run of merged datagrams at their common length; the last may be shorter.
    fn split(&mut self, meta: &RecvMeta, mut run: Payload, sink: &mut impl FnMut(RecvDatagram)) {
        self.counts.bytes_in += meta.len as u64;
        let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let kernel_unix_ns = meta
            .timestamp
            .map(|time| time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos()));
        let bound_ip = self.local_addr.ip();
        let local_ip = meta.dst_ip.or_else(|| (!bound_ip.is_unspecified()).then_some(bound_ip));
        let mut hand_over = |data| {
            self.counts.datagrams_in += 1;
            let remote = meta.addr;
            sink(RecvDatagram { remote, local_ip, ecn, data, kernel_unix_ns });
        };
        loop {
            let stride = if meta.stride > 0 { meta.stride.min(run.len()) } else { run.len() };
            hand_over(run.split_to(stride));
            if run.is_empty() {
                break;
            }
        }
    }

    /// Sends what the engine asked for: `contents` is cut at `transmit.segment_size` by the kernel.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`] when the send buffer is full: nothing was sent, and the caller keeps the datagrams. Every other
    /// failure is counted and looks like a loss on the path, which QUIC repairs.
    pub fn send(
        &mut self,
        transmit: &quinn_proto::Transmit,
        contents: &[u8],
    ) -> Result<(), WouldBlock> {
        self.counts.send_calls += 1;
        let sent = self.state.try_send(
            UdpSockRef::from(&self.socket),
            &quinn_udp::Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
                contents,
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            },
        );
        match sent {
            Ok(()) => {
                let segment_bytes = transmit.segment_size.unwrap_or(contents.len()).max(1);
                self.counts.datagrams_out += contents.len().div_ceil(segment_bytes).max(1) as u64;
                self.counts.bytes_out += contents.len() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.counts.would_block += 1;
                return Err(WouldBlock);
            }
            Err(error) if quinn_udp::is_msg_size_err(&error) => self.counts.oversized += 1,
            Err(_) => self.counts.send_errors += 1,
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Leaves the kernel only as much to say about a run as there is room for: the mark, or the local address.
fn make_room(socket: &SockRef<'_>, addr: SocketAddr, reads_ecn: bool) -> io::Result<()> {
    match (addr.is_ipv4(), reads_ecn) {
        (true, true) => setsockopt(&**socket, sockopt::Ipv4PacketInfo, &false)?,
        (false, true) => setsockopt(&**socket, sockopt::Ipv6RecvPacketInfo, &false)?,
        (true, false) => socket.set_recv_tos_v4(false)?,
        (false, false) => {
            socket.set_recv_tos_v4(false)?;
            socket.set_recv_tclass_v6(false)?;
        }
    }
    Ok(())
}

/// Linux reports twice what it grants, to cover its own bookkeeping.
fn granted(reported_bytes: usize) -> usize {
    if cfg!(target_os = "linux") { reported_bytes / 2 } else { reported_bytes }
}
