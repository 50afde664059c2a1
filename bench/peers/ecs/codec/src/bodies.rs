//! Bodies as rows of fixed width, in memory that is used again.

use bench_harness::suite::Body;
use bincode::config::{self, Config};

/// Components of a row, by reference.
pub type BodyRef<'r> = (&'r [f32; 16], &'r [f32; 3], &'r [f32; 3], &'r [f32; 3]);

/// Little-endian values of fixed width: the fastest setting, and 100 bytes a row.
const fn settings() -> impl Config {
    config::standard().with_fixed_int_encoding()
}

const ROW_BYTES: usize = size_of::<Body>();

/// Starts a snapshot of `rows` rows in memory that is used again.
pub fn begin(bytes: &mut Vec<u8>, rows: usize) -> Encoder<'_> {
    bytes.resize(rows * ROW_BYTES, 0);
    Encoder { rest: bytes }
}

/// Takes rows into a snapshot.
pub struct Encoder<'b> {
    rest: &'b mut [u8],
}

impl Encoder<'_> {
    /// Adds one row.
    ///
    /// # Panics
    /// If there are more rows than were announced.
    #[inline]
    pub fn push(&mut self, row: BodyRef<'_>) {
        let written = bincode::encode_into_slice(row, self.rest, settings());
        let written = written.expect("room for the announced number of rows");
        self.rest = &mut std::mem::take(&mut self.rest)[written..];
    }
}

/// The rows of a snapshot.
///
/// # Panics
/// If the bytes are no snapshot.
pub fn decode(bytes: &[u8]) -> impl ExactSizeIterator<Item = Body> {
    bytes.chunks_exact(ROW_BYTES).map(|row| {
        let decoded = bincode::decode_from_slice::<Body, _>(row, settings());
        decoded.expect("a row that was encoded here").0
    })
}
