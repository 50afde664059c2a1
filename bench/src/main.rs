//! `bench`: every number that Pollux publishes.

fn main() {}
