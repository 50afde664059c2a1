//! The socket over loopback: what is sent arrives as it was, in runs of every size.
#![allow(clippy::unwrap_used, reason = "what fails in a test shall fail the test")]

use std::net::SocketAddr;

use netloop::{BindError, Clock, Pool, RecvDatagram, Socket, SocketOptions};
use quinn_proto::{EcnCodepoint, Transmit};

fn open() -> Socket {
    Socket::bind("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap()
}

fn transmit(destination: SocketAddr, size: usize, segment_size: Option<usize>) -> Transmit {
    Transmit { destination, ecn: Some(EcnCodepoint::Ect0), size, segment_size, src_ip: None }
}

/// Receives until `count` datagrams have come, or nothing more comes.
fn recv(socket: &mut Socket, pool: &mut Pool, count: usize) -> Vec<RecvDatagram> {
    let mut datagrams = Vec::new();
    // Loopback delivers within the send call, so that one empty look after the last datagram would do.
    for _ in 0..1_000 {
        socket.recv(pool, 8, &mut |datagram| datagrams.push(datagram));
        if datagrams.len() >= count {
            break;
        }
        std::thread::yield_now();
    }
    datagrams
}

/// A datagram that tells its number and is easily seen to be damaged.
fn fill(number: u32, bytes: usize) -> Vec<u8> {
    let mut datagram = number.to_le_bytes().to_vec();
    datagram.extend((4..bytes).map(|at| (number as usize * 31 + at * 7) as u8));
    datagram.truncate(bytes);
    datagram
}

#[test]
fn ten_thousand_datagrams_of_odd_sizes_arrive_as_they_were() {
    let (mut source, mut target) = (open(), open());
    let mut pool = Pool::new(32, 32);
    let mut number = 0;
    while number < 10_000 {
        let bytes = 5 + number as usize * 13 % 1_400;
        // At most 64 KiB and the kernel's number of segments in a run; the last datagram is shorter.
        let run = (source.max_gso_segments()).min(60_000 / bytes).min(1 + number as usize % 44);
        let mut sent: Vec<Vec<u8>> = (0..run as u32).map(|at| fill(number + at, bytes)).collect();
        let last = sent.last_mut().unwrap();
        last.truncate(1 + bytes / 2);
        let contents = sent.concat();
        let segment_size = (run > 1).then_some(bytes);
        let transmit = transmit(target.local_addr(), contents.len(), segment_size);
        source.send(&transmit, &contents).unwrap();
        let received = recv(&mut target, &mut pool, run);
        assert_eq!(received.len(), run, "run at datagram {number}");
        for (received, sent) in received.iter().zip(&sent) {
            assert_eq!(*received.data, **sent);
            assert_eq!(received.remote, source.local_addr());
            assert_eq!(received.local_ip, Some(target.local_addr().ip()));
            assert_eq!(received.ecn, Some(EcnCodepoint::Ect0));
        }
        number += run as u32;
    }
    let (out, counts) = (source.counts(), target.counts());
    assert_eq!((out.datagrams_out, counts.datagrams_in), (u64::from(number), u64::from(number)));
    assert_eq!(out.bytes_out, counts.bytes_in);
    assert_eq!((out.send_errors, out.would_block, counts.recv_errors), (0, 0, 0));
    if source.max_gso_segments() > 1 {
        assert!(out.send_calls * 4 < out.datagrams_out, "runs are sent in one call: {out:?}");
        assert!(counts.recv_calls < counts.datagrams_in, "and received in one: {counts:?}");
    }
    assert_eq!((pool.replaced(), pool.copied()), (0, 0), "slabs come back between receives");
}

/// With all addresses the kernel tells the local one, and no marks: rather none than those of a part.
#[test]
fn second_handle_of_a_socket_changes_nothing_of_what_the_first_one_reads() {
    let (mut source, mut target) = (open(), open());
    let mut shared = target.share().unwrap();
    let mut pool = Pool::new(32, 32);
    for reader in [&mut target, &mut shared] {
        // Merged datagrams come with more to say about them than a single one.
        let contents = fill(1, 100).repeat(10);
        let transmit = transmit(reader.local_addr(), contents.len(), Some(100));
        source.send(&transmit, &contents).unwrap();
        let received = recv(reader, &mut pool, 10);
        assert_eq!(received.len(), 10);
        for datagram in received {
            assert_eq!((datagram.ecn, reader.reads_ecn()), (Some(EcnCodepoint::Ect0), true));
            assert!(datagram.kernel_unix_ns.is_some());
        }
    }
}

#[test]
fn socket_on_all_addresses_knows_the_local_one() {
    for (all, target_ip) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.1")]
    {
        let mut target = Socket::bind(all.parse().unwrap(), SocketOptions::default()).unwrap();
        let target_addr = SocketAddr::new(target_ip.parse().unwrap(), target.local_addr().port());
        let source_addr = SocketAddr::new(target_addr.ip(), 0);
        let mut source = Socket::bind(source_addr, SocketOptions::default()).unwrap();
        let run = source.max_gso_segments().min(10);
        let contents = fill(7, 100 * run);
        let segment_size = (run > 1).then_some(100);
        source.send(&transmit(target_addr, contents.len(), segment_size), &contents).unwrap();
        let received = recv(&mut target, &mut Pool::new(4, 4), run);
        assert_eq!(received.len(), run, "{all} {target_ip}");
        let all_bytes: Vec<u8> = received.iter().flat_map(|d| d.data.to_vec()).collect();
        assert_eq!(all_bytes, contents);
        for datagram in &received {
            assert_eq!(datagram.local_ip.unwrap().to_canonical(), target_addr.ip());
            assert_eq!((datagram.ecn, target.reads_ecn()), (None, false));
            assert!(datagram.kernel_unix_ns.is_some() || !cfg!(target_os = "linux"));
        }
    }
}

#[test]
fn kernel_says_when_a_datagram_arrived() {
    let (mut source, mut target) = (open(), open());
    let before_ns = Clock::new().now().unix_ns;
    source.send(&transmit(target.local_addr(), 3, None), b"abc").unwrap();
    let received = recv(&mut target, &mut Pool::new(1, 1), 1);
    let after_ns = Clock::new().now().unix_ns;
    if cfg!(target_os = "linux") {
        let kernel_ns = received[0].kernel_unix_ns.unwrap();
        // The kernel and the clock read the same source; 1 ms covers a clock that is being slewed.
        assert!(before_ns <= kernel_ns + 1_000_000 && kernel_ns <= after_ns + 1_000_000);
    }
}

#[test]
fn budget_ends_a_receive_that_finds_ever_more() {
    let (mut source, mut target) = (open(), open());
    for number in 0..200 {
        let datagram = fill(number, 100 + number as usize);
        let transmit = transmit(target.local_addr(), datagram.len(), None);
        source.send(&transmit, &datagram).unwrap();
    }
    let mut pool = Pool::new(2, 200);
    let mut numbers = Vec::new();
    let mut see = |datagram: RecvDatagram| {
        numbers.push(u32::from_le_bytes(datagram.data[..4].try_into().unwrap()));
    };
    assert!(!target.recv(&mut pool, 3, &mut see), "more is waiting");
    assert_eq!(target.counts().recv_calls, 3);
    while !target.recv(&mut pool, 3, &mut see) {}
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

#[test]
fn retained_datagrams_keep_their_bytes_while_others_arrive() {
    let (mut source, mut target) = (open(), open());
    let mut pool = Pool::new(4, 3);
    let mut kept = Vec::new();
    for number in 0..100 {
        let datagram = fill(number, 700);
        source.send(&transmit(target.local_addr(), 700, None), &datagram).unwrap();
        kept.extend(recv(&mut target, &mut pool, 1));
    }
    for (number, datagram) in (0..).zip(&kept) {
        assert_eq!(*datagram.data, *fill(number, 700));
    }
    assert_eq!(kept.len(), 100);
    assert!(pool.replaced() > 0 && pool.copied() > 0, "{pool:?}");
}

#[test]
fn taken_port_is_reported_with_its_address() {
    let taken = open();
    match Socket::bind(taken.local_addr(), SocketOptions::default()) {
        Err(BindError::InUse { addr }) => assert_eq!(addr, taken.local_addr()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn foreign_address_is_reported_as_such() {
    // Documentation addresses belong to nobody.
    let addr = "192.0.2.1:0".parse().unwrap();
    let error = Socket::bind(addr, SocketOptions::default()).unwrap_err();
    assert!(matches!(error, BindError::NotAvailable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "192.0.2.1:0 is not an address of this host");
}

#[test]
fn shared_port_is_granted_to_those_who_ask_for_it() {
    let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
    let first = Socket::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    assert_eq!(Socket::bind(first.local_addr(), options).unwrap().local_addr(), first.local_addr());
}

#[test]
fn granted_buffer_is_readable_when_the_wish_was_too_large() {
    let modest = SocketOptions { recv_buffer_bytes: 65_536, ..SocketOptions::default() };
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), modest).unwrap();
    assert_eq!(socket.recv_buffer_bytes(), 65_536);
    let greedy = SocketOptions { recv_buffer_bytes: 1 << 30, ..SocketOptions::default() };
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), greedy).unwrap();
    assert!((65_536..1 << 30).contains(&socket.recv_buffer_bytes()), "bounded by the host");
}

#[test]
fn datagram_beyond_the_largest_is_counted_and_forgotten() {
    let (mut source, target) = (open(), open());
    let contents = vec![0; 65_600];
    let transmit = transmit(target.local_addr(), contents.len(), None);
    assert_eq!(source.send(&transmit, &contents), Ok(()));
    assert_eq!((source.counts().oversized, source.counts().datagrams_out), (1, 0));
}
