//! `bench`: every number that Pollux publishes.

#![forbid(unsafe_code)]

fn main() {}
