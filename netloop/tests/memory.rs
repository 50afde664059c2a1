//! What an idle session costs on the heap of a server, and that it is given back.
//!
//! One test alone in its binary, because it counts what the process has allocated.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::time::Duration;

use link::{Pair, Weather};
use netloop::{HandshakeLimits, SessionLimits};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const SESSIONS: usize = 1000;
/// What a session that says nothing may cost, all in: half of it is the connection itself, a fifth are keys.
const BYTES_MAX: usize = 16 << 10;

fn limits() -> SessionLimits {
    let handshakes = HandshakeLimits { per_s: 0, ..HandshakeLimits::default() };
    SessionLimits { handshakes, ..SessionLimits::default() }
}

#[test]
fn an_idle_session_costs_little_and_gives_it_back() {
    let mut pair = Pair::with_limits(1, Weather::CALM, limits(), limits());
    let empty = HEAP.current_usage();
    for _ in 0..SESSIONS / 100 {
        for _ in 0..100 {
            pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap();
        }
        pair.run_for(Duration::from_millis(100));
    }
    let limit = Duration::from_secs(60);
    pair.run_until("all sessions", limit, |pair| {
        pair.server.engine.open_sessions() == SESSIONS as u64
    });
    // The search for the path's MTU and the tickets are over by then.
    pair.run_for(Duration::from_secs(8));
    assert_eq!(pair.server.engine.open_sessions(), SESSIONS as u64);
    let both = HEAP.current_usage();
    // A second pair takes the place of the client, so that only the server's part is left.
    let other = Pair::with_limits(2, Weather::CALM, limits(), limits());
    let before = HEAP.current_usage();
    let client = std::mem::replace(&mut pair.client, other.client);
    drop(client);
    pair.forget_flights();
    let client_bytes = before - HEAP.current_usage();
    let bytes = (both - empty - client_bytes) / SESSIONS;
    eprintln!(
        "{bytes} bytes for a session of the server, {} of the client",
        client_bytes / SESSIONS
    );
    assert!(bytes <= BYTES_MAX, "{bytes} bytes for an idle session");
    // Nobody answers: the idle timeout ends them all.
    pair.run_for(Duration::from_secs(120));
    assert_eq!(pair.server.engine.open_sessions(), 0);
    pair.server.sink.events = Vec::new();
    let left = HEAP.current_usage().saturating_sub(empty) / SESSIONS;
    assert!(left <= BYTES_MAX / 10, "{left} bytes for a session that is gone");
}
