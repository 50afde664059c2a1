//! The stop of the plant over a restart: the request in force, in a small file.
//!
//! It is read before anything runs. After each request it is written whole beside its place, put on the disk and renamed, by a
//! thread of its own, because a disk that hangs must hold up neither the tick nor the cold thread: a request holds whether or
//! not it can be kept. What cannot be kept is said in the log and in the gauge of [`Wish::StopFile`], and tried again. A file that
//! is there and cannot be read stops the plant, because only an operator clears a stop.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::degraded::Wish;
use crate::order::{StopRequest, StopSource, StopWord};
use crate::parting::{Left, Patience};
use crate::stats::TwinStats;

/// The thread writes a line and calls nothing deep.
const STACK_BYTES: usize = 1 << 17;

/// Why a file says nothing of the stop.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// It is not what was written.
    #[error("{}: not a stop that was kept", .0.display())]
    Malformed(PathBuf),
}

/// A line of the file. Whether the plant is stopped follows from the number; it stands there for whoever looks, and to tell a
/// number that was changed.
#[derive(Serialize, Deserialize)]
struct Line {
    request: u64,
    stopped: bool,
    by: String,
    asked_unix_ns: u64,
}

/// Reads the request that was in force; that of a plant that nobody ever stopped where there is no file yet.
///
/// # Errors
/// The file is there and says nothing.
pub fn read(path: &Path) -> Result<StopRequest, ReadError> {
    let text = match fs::read_to_string(path) {
        Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(StopRequest::default()),
        text => text.map_err(|reason| ReadError::File { path: path.to_owned(), reason })?,
    };
    let line = serde_json::from_str::<Line>(&text).ok();
    let request = line.and_then(|line| {
        let (word, source) = (StopWord(line.request), StopSource::named(&line.by)?);
        let asked_ns = line.asked_unix_ns;
        (word.is_stopped() == line.stopped).then_some(StopRequest { word, source, asked_ns })
    });
    request.ok_or_else(|| ReadError::Malformed(path.to_owned()))
}

/// Puts a request on the disk in place of the one before it.
///
/// # Errors
/// The folder takes no file. The one before it is still there.
pub fn write(path: &Path, request: StopRequest) -> std::io::Result<()> {
    let line = Line {
        request: request.word.0,
        stopped: request.word.is_stopped(),
        by: request.source.name().to_owned(),
        asked_unix_ns: request.asked_ns,
    };
    let mut beside = OsString::from(path);
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // The name is on the disk only once its folder is.
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Keeps the request in force in its file, from the cold thread's side.
#[derive(Debug)]
pub struct StopKeeper {
    given: StopWord,
    requests: Sender<StopRequest>,
    failed: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl StopKeeper {
    /// Starts the thread that writes, where `prepare` is called first. `held` stands in the file, or does not if `failed`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        path: PathBuf,
        held: StopRequest,
        failed: bool,
        stats: Arc<TwinStats>,
        prepare: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (requests, asked) = channel();
        let failed = Arc::new(AtomicBool::new(failed));
        let tells = Arc::clone(&failed);
        let builder = std::thread::Builder::new().name("stop-file".to_owned());
        let thread = builder.stack_size(STACK_BYTES).spawn(move || {
            prepare();
            keep(&path, &asked, &tells, &stats);
        })?;
        Ok(Self { given: held.word, requests, failed, thread })
    }

    /// Has a request kept that is a new one. To be called often.
    pub fn poll(&mut self, request: StopRequest) {
        if request.word != self.given {
            self.given = request.word;
            // A thread that is gone has said why.
            let _ = self.requests.send(request);
        }
    }

    /// Has the request in force kept once more where that failed. To be called about once a second.
    pub fn retry(&self, request: StopRequest) {
        if self.failed.swap(false, Relaxed) {
            let _ = self.requests.send(request);
        }
    }

    /// Waits until the last request is kept, or was tried.
    ///
    /// # Errors
    /// That takes longer, or the thread has panicked.
    pub fn finish(mut self, request: StopRequest, patience: Patience) -> Result<(), Left> {
        self.poll(request);
        self.retry(request);
        drop(self.requests);
        patience.join(self.thread)
    }
}

/// Writes requests until nobody asks any more.
fn keep(path: &Path, asked: &Receiver<StopRequest>, failed: &AtomicBool, stats: &TwinStats) {
    let gauge = &stats.degraded[Wish::StopFile as usize];
    for first in asked {
        let request = asked.try_iter().last().unwrap_or(first);
        match write(path, request) {
            Ok(()) => gauge.set(0),
            Err(error) => {
                // Once for a failure that lasts.
                if gauge.value() == 0 {
                    let (path, stopped) = (path.display(), request.word.is_stopped());
                    tracing::error!(%path, %error, stopped, "a restart would forget this");
                }
                gauge.set(1);
                failed.store(true, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(word: u64) -> StopRequest {
        StopRequest { word: StopWord(word), source: StopSource::Rule, asked_ns: 1_767_225_600 }
    }

    #[test]
    fn what_was_written_is_read_and_no_file_is_no_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stop");
        assert_eq!(read(&path).unwrap(), StopRequest::default());
        for word in [0, 1, 2, u64::MAX] {
            write(&path, request(word)).unwrap();
            assert_eq!(read(&path).unwrap(), request(word));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_says_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stop");
        let changed = r#"{"request":2,"stopped":true,"by":"rule","asked_unix_ns":1}"#;
        for text in ["", "{}", "\0\0\0\0", changed, &changed.replace("rule", "nobody")] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(ReadError::Malformed(_))), "{text}");
        }
        assert!(matches!(read(folder.path()), Err(ReadError::File { .. })), "a folder");
    }

    #[test]
    fn what_cannot_be_kept_sets_the_gauge_and_is_kept_by_a_later_try() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/stop");
        let stats = Arc::new(TwinStats::new(1));
        let gauge = || stats.degraded[Wish::StopFile as usize].value();
        let start = || {
            let stats = Arc::clone(&stats);
            StopKeeper::start(path.clone(), request(0), false, stats, || {}).unwrap()
        };
        start().finish(request(1), Patience::of(Duration::from_secs(60))).unwrap();
        assert_eq!(gauge(), 1, "there is no such folder");
        fs::create_dir(folder.path().join("state")).unwrap();
        let keeper = start();
        keeper.failed.store(true, Relaxed);
        keeper.finish(request(1), Patience::of(Duration::from_secs(60))).unwrap();
        assert_eq!((gauge(), read(&path).unwrap()), (0, request(1)));
    }
}
