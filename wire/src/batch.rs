//! A batch: records laid end to end, borrowed where they arrived.
//!
//! A DATAGRAM frame carries exactly one batch. Any length that is not a whole number of records is one decode error, and
//! nothing of the payload is used. PROTOCOL.md#t1.

use crate::{RECORD_BYTES, Record};

/// One or more records in a borrowed payload.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    records: &'a [Record],
}

/// Why a payload is not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No bytes at all.
    #[error("the payload is empty")]
    Empty,
    /// The last record is cut.
    #[error("{payload_bytes} bytes are not a whole number of {RECORD_BYTES}-byte records")]
    Ragged {
        /// Length of the payload, in bytes.
        payload_bytes: usize,
    },
}

impl<'a> Batch<'a> {
    /// Borrows `payload` as records, without a copy.
    ///
    /// # Errors
    /// The payload is empty or ragged.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, BatchError> {
        match bytemuck::try_cast_slice(payload) {
            Ok([]) => Err(BatchError::Empty),
            Ok(records) => Ok(Self { records }),
            Err(_) => Err(BatchError::Ragged { payload_bytes: payload.len() }),
        }
    }

    /// Borrows the whole records at the front of a stream's bytes, and the tail that is not one yet.
    #[inline]
    #[must_use]
    pub fn decode_prefix(bytes: &'a [u8]) -> (&'a [Record], &'a [u8]) {
        let whole = bytes.len() - bytes.len() % RECORD_BYTES;
        let (records, tail) = bytes.split_at(whole);
        (bytemuck::cast_slice(records), tail)
    }

    /// The records, in the order of the payload.
    #[inline]
    #[must_use]
    pub const fn records(&self) -> &'a [Record] {
        self.records
    }

    /// Number of records, at least 1.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Records that fit into `payload_bytes`.
    #[must_use]
    pub const fn capacity(payload_bytes: usize) -> usize {
        payload_bytes / RECORD_BYTES
    }
}
