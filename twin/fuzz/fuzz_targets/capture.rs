//! Bytes as a capture: whatever they are, reading them ends, and gives no more than what they hold.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use netloop::Slot;
use twin::capture::{Header, Reader, Replay, Segments, Step};
use twin::config::{Effective, Keep};
use twin::world::WorldOptions;
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

/// A world that is made in no time.
fn small() -> WorldOptions {
    let config = Effective::load_text(Path::new("fuzz"), "");
    let options = WorldOptions::new(config.expect("defaults are good").config(), [1, 2]);
    WorldOptions { entities_max: 64, sessions_max: 8, ..options }
}

fn read(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(Cursor::new(bytes)) else { return };
    let mut cells = 0;
    while let Ok(Some(step)) = reader.next_step() {
        cells += 1;
        match step {
            Step::Tick(frame) => {
                let chunks = Tier::ALL.into_iter().flat_map(|tier| frame.chunks(tier));
                cells += chunks.map(<[_]>::len).sum::<usize>() + frame.events.len();
            }
            Step::State(state) => {
                // A state is good or refused; it is none of the world's business which.
                drop(Replay::with_options(small()).restore(&state));
            }
            Step::Gap { .. } | Step::Lost { .. } | Step::End { .. } => {}
        }
    }
    assert!(cells * 64 <= bytes.len(), "{cells} cells out of {} bytes", bytes.len());
}
