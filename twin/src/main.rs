//! `pollux`: the industrial digital twin in one binary.

fn main() {}
