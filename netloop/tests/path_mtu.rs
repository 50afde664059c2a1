//! How a session finds the largest datagram of its path, and that it asks the path for little.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::time::Duration;

use link::{Pair, Weather, numbered, payload};
use netloop::SessionLimits;
use wire::Record;

/// A session over a link that carries `carries_bytes`: what both ends found, and the sizes that they tried, as a set.
fn found(carries_bytes: usize, mtu_bytes: u16) -> ([u16; 2], Vec<usize>, usize) {
    let limits = SessionLimits { mtu_bytes, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(1, Weather::CALM, limits.clone(), limits);
    pair.carries_bytes = carries_bytes;
    let session = pair.connect();
    pair.run_for(Duration::from_secs(20));
    let (now, at_server) = (pair.now, pair.server_session());
    let client = pair.client.engine.path(now, session).unwrap();
    let server = pair.server.engine.path(now, at_server).unwrap();
    let (probes, mut sizes) = (pair.large.len(), pair.large);
    sizes.sort_unstable();
    sizes.dedup();
    ([client.mtu_bytes, server.mtu_bytes], sizes, probes)
}

#[test]
fn one_probe_of_each_end_finds_what_ethernet_carries() {
    assert_eq!(found(1452, 1452), ([1452; 2], vec![1452], 2));
}

#[test]
fn where_the_largest_is_lost_half_of_the_way_is_tried() {
    let (mtu_bytes, sizes, probes) = found(1400, 1452);
    assert_eq!((mtu_bytes, sizes), ([1325; 2], vec![1325, 1452]));
    assert_eq!(probes, 2 * (3 + 1), "a size is given up after three probes");
}

#[test]
fn full_transmit_of_large_datagrams_is_no_more_than_the_kernel_takes() {
    let room = SessionLimits { datagram_send_bytes: 1 << 20, ..SessionLimits::default() };
    let limits = SessionLimits { mtu_bytes: 9_000, ..room };
    let mut pair = Pair::with_limits(1, Weather::CALM, limits.clone(), limits);
    pair.carries_bytes = 9_000;
    let session = pair.connect();
    pair.run_for(Duration::from_secs(20));
    let now = pair.now;
    let engine = &mut pair.client.engine;
    let mtu_bytes = usize::from(engine.path(now, session).unwrap().mtu_bytes);
    assert!(mtu_bytes > 8_900, "{mtu_bytes}");
    let records: Vec<Record> = (0..200).map(numbered).collect();
    for _ in 0..20 {
        engine.send_datagram(session, payload(&records).into()).unwrap();
    }
    let mut buffer = Vec::new();
    let sent = engine.poll_transmit(now, 44, &mut buffer).unwrap();
    assert!(sent.size <= 65_507, "{} bytes in one call", sent.size);
    assert_eq!(sent.size.div_ceil(sent.segment_size.unwrap()), 65_507 / mtu_bytes);
}

#[test]
fn a_path_of_larger_frames_is_searched_from_its_middle() {
    let (mtu_bytes, _, _) = found(1500, 9000);
    assert!(mtu_bytes.iter().all(|bytes| (1460..=1500).contains(bytes)), "{mtu_bytes:?}");
}
