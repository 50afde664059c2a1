//! Rows through serde, as users write it: derived traits, bincode's standard setting, one row after the other.

use bench_harness::suite::Body;
use bincode::config;

use crate::{BodyRef, Codec, Encode, ROW_BYTES};

/// See the page of the module.
pub struct Serde;

/// The snapshot so far.
pub struct Snapshot<'b>(&'b mut Vec<u8>);

impl Codec for Serde {
    type Encoder<'b> = Snapshot<'b>;

    fn begin(bytes: &mut Vec<u8>, rows: usize) -> Snapshot<'_> {
        bytes.clear();
        bytes.reserve(rows * ROW_BYTES);
        Snapshot(bytes)
    }

    fn decode(bytes: &[u8]) -> impl ExactSizeIterator<Item = Body> {
        let mut rest = bytes;
        (0..bytes.len() / ROW_BYTES).map(move |_| {
            let decoded = bincode::serde::decode_from_slice::<Body, _>(rest, config::standard());
            let (row, read) = decoded.expect("a row that was encoded here");
            rest = &rest[read..];
            row
        })
    }
}

impl Encode for Snapshot<'_> {
    #[inline]
    fn push(&mut self, row: BodyRef<'_>) {
        let written = bincode::serde::encode_into_std_write(row, self.0, config::standard());
        written.expect("a vector takes every row");
    }
}
