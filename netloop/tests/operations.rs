//! Sequences of operations on two engines: seeded ones, and those that the fuzzer has found worth keeping.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]
#![allow(clippy::print_stdout, reason = "a failing test shows its seed")]

mod link;
mod script;

use std::{fs, path::Path};

use link::Dice;

#[test]
fn nothing_that_two_engines_do_ends_in_a_panic_or_a_wrong_account() {
    for seed in 1..=60_u64 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let length = 20 + dice.next() as usize % 200;
        let bytes: Vec<u8> = (0..length).map(|_| dice.next() as u8).collect();
        script::run(&bytes);
    }
}

#[test]
fn what_the_fuzzer_has_kept_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/operations");
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        script::run(&fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} holds inputs", folder.display());
}
