//! What a tick took, with a cell for each record: the checks look at records, and know nothing of how lines hold them.

use netloop::{Runs, Slot};
use twin::capture::{Mark, MarkKind};

/// Unpacks the runs of each chunk, and corrects the counts of the marks before them.
pub(crate) fn unpack(cells: &mut Vec<Slot>) {
    let packed = std::mem::take(cells);
    let mut rest = packed.as_slice();
    while let [first, behind @ ..] = rest {
        let mark = *Mark::of(first);
        let (own, next) = behind.split_at(mark.count as usize);
        rest = next;
        if mark.kind() == Some(MarkKind::Chunk) {
            let records: Vec<Slot> = Runs::new(own).slots().collect();
            cells.push(
                Mark::new(MarkKind::Chunk, mark.sub, records.len() as u32, mark.words).cell(),
            );
            cells.extend(records);
        } else {
            cells.push(*first);
            cells.extend(own);
        }
    }
}
