//! `pollux`: the industrial digital twin in one binary.

#![forbid(unsafe_code)]

fn main() {}
