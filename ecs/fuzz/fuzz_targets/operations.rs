//! Bytes as a sequence of operations on a world and on a model of it: they agree, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/model/mod.rs"]
mod model;

fuzz_target!(|bytes: &[u8]| {
    let mut run = model::Run::new(model::Choices::of_bytes(bytes));
    while run.random.has_bytes() {
        run.step();
    }
    run.check();
});
