//! Fifty thousand first packets from invented addresses: the session that is there loses nothing, memory stays flat, and
//! who is really there still gets in.
//!
//! One test alone in its binary, because it counts what the process has allocated.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod forge;
mod link;

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use forge::Forge;
use link::{Pair, Weather, numbered, payload, values};
use netloop::{Datagram, Limit, Phase, SessionId};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const PERIOD: Duration = Duration::from_millis(1);
const PERIODS: u32 = 1000;
/// 50,000 a second.
const INITIALS_IN_PERIOD: u32 = 50;
/// The flood has reached everything that it fills by then.
const SETTLED: u32 = 100;

/// A real first packet of another client, for a server that never hears of it again.
fn forge() -> Forge {
    let mut other = Pair::new(77, Weather::CALM);
    other.client.engine.connect(other.now, other.server.address, "localhost").unwrap();
    let mut buffer = Vec::new();
    let transmit = other.client.engine.poll_transmit(other.now, 1, &mut buffer).unwrap();
    Forge::new(&buffer[..transmit.size])
}

fn flood(pair: &mut Pair, forge: &Forge) {
    for _ in 0..INITIALS_IN_PERIOD {
        let (id, source) = (pair.dice.next(), pair.dice.next() as u32);
        let remote = SocketAddr::from((source.to_be_bytes(), 1024 + (id as u16 >> 1)));
        let payload = BytesMut::from(&forge.initial(id)[..]);
        let recv_ns = pair.now.unix_ns;
        let datagram = Datagram { remote, local_ip: None, ecn: None, payload, recv_ns };
        pair.server.engine.handle_datagram(pair.now, datagram);
    }
}

fn send(pair: &mut Pair, session: SessionId, seq: u32) {
    let record = payload(&[numbered(seq)]);
    pair.client.engine.send_datagram(session, Bytes::from(record)).unwrap();
}

#[test]
fn a_flood_of_first_packets_costs_no_record_and_no_memory() {
    let forge = forge();
    let mut pair = Pair::new(1, Weather::CALM);
    pair.server.sink.t1.reserve(PERIODS as usize);
    let session = pair.connect();
    let begin = pair.now.instant;
    let (mut settled_bytes, mut newcomer) = (0, None);
    for period in 0..PERIODS {
        flood(&mut pair, &forge);
        send(&mut pair, session, period);
        if period == SETTLED {
            settled_bytes = HEAP.current_usage();
        }
        if period == PERIODS / 2 {
            let bytes = HEAP.current_usage();
            assert!(bytes * 20 <= settled_bytes * 21, "{settled_bytes} grew to {bytes} bytes");
            let address = pair.server.address;
            newcomer = Some(pair.client.engine.connect(pair.now, address, "localhost").unwrap());
        }
        pair.run_to(begin + PERIOD * (period + 1));
    }
    assert_eq!(pair.client.engine.phase(newcomer.unwrap()), Some(Phase::Open), "seed 1");
    pair.run_for(Duration::from_millis(5));
    let expected: Vec<u32> = (0..PERIODS).collect();
    assert_eq!(values(&pair.server.sink.t1), expected, "seed 1");
    let bytes = HEAP.current_usage();
    assert!(bytes * 20 <= settled_bytes * 21, "{settled_bytes} grew to {bytes} bytes");

    let tally = pair.server.engine.tally();
    let (retried, ignored) = (tally.limited(Limit::Unproven), tally.limited(Limit::Initials));
    assert!(pair.strayed >= retried, "each Retry goes to the address that was written there");
    assert_eq!((tally.opened, tally.closed, tally.limited(Limit::Handshakes)), (2, 0, 0));
    // The invented ones that were let in, before addresses had to prove themselves, end as handshakes that nobody went on with.
    pair.run_for(Duration::from_secs(30));
    let begun = pair.server.engine.tally().handshakes_timeout;
    assert_eq!(begun, 32);
    // The newcomer sent one packet that was retried, and perhaps again what was ignored.
    let invented = u64::from(PERIODS * INITIALS_IN_PERIOD);
    let counted = begun + retried + ignored;
    assert!((invented..invented + 4).contains(&counted), "{begun} + {retried} + {ignored}");
    assert_eq!(pair.server.engine.open_sessions(), 2);
}
