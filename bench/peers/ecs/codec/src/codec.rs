//! What a codec of snapshots does: rows in by reference, and the same rows out of the bytes.

use bench_harness::suite::Body;

/// Components of a row, by reference.
pub type BodyRef<'r> = (&'r [f32; 16], &'r [f32; 3], &'r [f32; 3], &'r [f32; 3]);

/// How rows become bytes and rows again.
pub trait Codec: 'static {
    /// Takes rows into a snapshot.
    type Encoder<'b>: Encode;

    /// Starts a snapshot of `rows` rows in memory that is used again.
    fn begin(bytes: &mut Vec<u8>, rows: usize) -> Self::Encoder<'_>;

    /// The rows of a snapshot.
    ///
    /// # Panics
    /// If the bytes are no snapshot.
    fn decode(bytes: &[u8]) -> impl ExactSizeIterator<Item = Body>;
}

/// Takes rows into a snapshot.
pub trait Encode {
    /// Adds one row.
    ///
    /// # Panics
    /// If there are more rows than were announced.
    fn push(&mut self, row: BodyRef<'_>);
}

/// Values of a row, in either form.
pub(crate) const ROW_BYTES: usize = size_of::<Body>();
