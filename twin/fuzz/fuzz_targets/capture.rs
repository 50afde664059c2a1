//! Bytes as a capture: whatever they are, reading them ends, and gives no more than what they hold.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use netloop::Slot;
use twin::capture::{Header, Reader, Segments, Step};
use twin::config::Keep;
use wire::Tier;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Most inputs fail at the first checksum; cells with a true one around them get further.
    let (cells, rest) = bytes.as_chunks::<64>();
    let cells: Vec<Slot> = cells.iter().map(|cell| bytemuck::pod_read_unaligned(cell)).collect();
    for keep in Keep::ALL {
        let (mut file, mut segments) = (Vec::new(), Segments::default());
        let header = Header::of_this_build(0, keep, String::new());
        header.write(&mut file).expect("memory takes all");
        for cells in cells.chunks(7) {
            segments.write(&mut file, cells, &[]).expect("memory takes all");
        }
        file.extend_from_slice(rest);
        read(&file);
    }
});

fn read(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(Cursor::new(bytes)) else { return };
    let mut cells = 0;
    while let Ok(Some(step)) = reader.next_step() {
        cells += 1;
        if let Step::Tick(frame) = step {
            let chunks = Tier::ALL.into_iter().flat_map(|tier| frame.chunks(tier));
            cells += chunks.map(<[_]>::len).sum::<usize>() + frame.events.len();
        }
    }
    assert!(cells * 64 <= bytes.len(), "{cells} cells out of {} bytes", bytes.len());
}
