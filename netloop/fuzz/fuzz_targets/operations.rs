//! Bytes as a sequence of operations on two engines with time between them: datagrams and stream bytes of any kind, time
//! steps, stalls, closes. Nothing panics, every session ends, and the counts add up.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/link/mod.rs"]
mod link;
#[path = "../../tests/script/mod.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| script::run(bytes));
