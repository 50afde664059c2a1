//! Rows of fixed width by bincode's own traits, each into its place: the fastest that bincode can do.

use bench_harness::suite::Body;
use bincode::config::{self, Config};

use crate::{BodyRef, Codec, Encode, ROW_BYTES};

/// Little-endian values of fixed width: the fastest setting, and 100 bytes a row.
const fn settings() -> impl Config {
    config::standard().with_fixed_int_encoding()
}

/// See the page of the module.
pub struct Fixed;

/// The places that are not filled yet.
pub struct Places<'b>(&'b mut [u8]);

impl Codec for Fixed {
    type Encoder<'b> = Places<'b>;

    fn begin(bytes: &mut Vec<u8>, rows: usize) -> Places<'_> {
        bytes.resize(rows * ROW_BYTES, 0);
        Places(bytes)
    }

    fn decode(bytes: &[u8]) -> impl ExactSizeIterator<Item = Body> {
        bytes.chunks_exact(ROW_BYTES).map(|row| {
            let decoded = bincode::decode_from_slice::<Body, _>(row, settings());
            decoded.expect("a row that was encoded here").0
        })
    }
}

impl Encode for Places<'_> {
    #[inline]
    fn push(&mut self, row: BodyRef<'_>) {
        let written = bincode::encode_into_slice(row, self.0, settings());
        let written = written.expect("room for the announced number of rows");
        self.0 = &mut std::mem::take(&mut self.0)[written..];
    }
}
