//! The files of a report, written on a thread of their own: a disk that hangs costs lines, and never the thread that has
//! them.
//!
//! Lines wait in a queue with a bound, and are shed when it is full. A log that cannot be written is dropped with one word
//! of error, and the others go on; the end says which it was.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use crate::histograms::{LogFile, WriteError, write_file};

/// Lines that may wait: some ten seconds of a report, of some hundred bytes to some kilobytes each.
const LINES_MAX: usize = 128;
/// How long the end of a report may take: a disk that works needs some milliseconds for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Stack of the thread, all of it in place where memory is locked.
const STACK_BYTES: usize = 1 << 18;

/// A line for one of the logs.
struct Line {
    log: usize,
    text: Vec<u8>,
}

/// What is written at the end: files by name, in order.
pub(crate) type Last = Vec<(PathBuf, Vec<u8>)>;

/// The thread that writes, seen from whoever has something to write.
pub(crate) struct Scribe {
    folder: PathBuf,
    lines: SyncSender<Line>,
    last: Sender<Last>,
    done: Receiver<Result<(), WriteError>>,
    /// Lines that found no room.
    shed: u64,
}

impl Scribe {
    /// Starts the thread. It runs where the thread runs that calls this.
    pub(crate) fn start(folder: &Path, logs: Vec<LogFile>) -> io::Result<Self> {
        let (lines, lines_out) = sync_channel(LINES_MAX);
        let (last, last_out) = channel();
        let (done_in, done) = channel();
        let builder = std::thread::Builder::new().name("report".to_owned()).stack_size(STACK_BYTES);
        // Never joined: whoever waits for `done` has all that it leaves, and nobody waits for a disk without a bound.
        builder.spawn(move || run(logs, &lines_out, &last_out, &done_in))?;
        Ok(Self { folder: folder.to_owned(), lines, last, done, shed: 0 })
    }

    /// Appends a line to a log, or sheds it.
    pub(crate) fn push(&mut self, log: usize, text: Vec<u8>) {
        if self.lines.try_send(Line { log, text }).is_ok() {
            return;
        }
        if self.shed == 0 {
            let folder = self.folder.display();
            tracing::error!(%folder, "the disk of the report does not keep up, and intervals are missing in it");
        }
        self.shed += 1;
    }

    /// Writes what comes last, and waits until everything is written, or for so long.
    pub(crate) fn finish(self, last: Last) -> Result<(), WriteError> {
        let Self { folder, lines, last: to, done, shed } = self;
        // Behind the last line the thread looks for what comes last.
        drop(lines);
        drop(to.send(last));
        match done.recv_timeout(PATIENCE) {
            Ok(Ok(())) if shed > 0 => {
                let lost = format!("{shed} intervals found no room before a disk that hung");
                Err(WriteError::new(&folder, &lost))
            }
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => {
                Err(WriteError::new(&folder, &"the disk hangs, and the report is left as it is"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(WriteError::new(&folder, &"the thread that writes has panicked"))
            }
        }
    }
}

fn run(
    logs: Vec<LogFile>,
    lines: &Receiver<Line>,
    last: &Receiver<Last>,
    done: &Sender<Result<(), WriteError>>,
) {
    let mut logs: Vec<_> = logs.into_iter().map(Some).collect();
    let mut written = Ok(());
    for Line { log: at, text } in lines {
        let Some(log) = &mut logs[at] else { continue };
        if let Err(error) = log.append(&text).and_then(|()| log.flush()) {
            tracing::error!(%error, "a log of the report cannot be written, and ends");
            logs[at] = None;
            written = written.and(Err(error));
        }
    }
    // A log without a line has its head in memory still.
    for log in logs.iter_mut().flatten() {
        written = written.and(log.flush());
    }
    // Whoever lets go of a report without its end wants none.
    let Ok(files) = last.recv() else { return };
    for (path, bytes) in files {
        written = written.and(write_file(&path, &bytes));
    }
    // Nobody may wait any longer.
    drop(done.send(written));
}
