//! A stream whose peer has to take what is written to it: a write that waits for too long fails, and its connection ends.
//!
//! Whoever asks and never reads the answers would keep a place for ever, because HTTP looks neither at its timers nor at the
//! stream while answers wait. A peer has so much patience and no more: waiting for it uses it up, and what it takes gives it
//! back. So nobody is held up by one that stands still, nor by one that takes a byte now and then; and one that is slow but
//! takes what it asked for is served, for as long as it likes. Time in which nothing waits to be written does not count.

use std::future::Future;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A peer that takes nothing for so long is given up: longer than a viewer has for a message, so that viewers are ended as
/// viewers, and as long as a request may take.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(15);
/// Bytes that give all of it back. Fewer in the same time, some 500 a second, are less than the slowest link carries; a kernel
/// whose buffers were full takes as many at once as soon as it takes any.
const BYTES_MIN: u32 = 8 << 10;

/// A stream, and how much patience is left with its peer.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    left: Duration,
    waiting: Option<Waiting>,
}

/// A write that found no room.
struct Waiting {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// A stream whose peer may let it wait for so long.
    pub(super) const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, left: patience, waiting: None }
    }

    /// Counts what came of a write, and fails it where it has waited for too long.
    fn settle(&mut self, cx: &mut Context<'_>, wrote: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match wrote {
            Poll::Ready(Ok(bytes)) => {
                let waited = self.waiting.take().map(|waiting| waiting.since.elapsed());
                let taken = u32::try_from(bytes).unwrap_or(BYTES_MIN).min(BYTES_MIN);
                let left = self.left.saturating_sub(waited.unwrap_or_default());
                self.left = (left + self.patience * taken / BYTES_MIN).min(self.patience);
            }
            Poll::Pending => {
                let left = self.left;
                let waiting = self.waiting.get_or_insert_with(|| {
                    let since = Instant::now();
                    Waiting { since, end: Box::pin(sleep_until(since + left)) }
                });
                ready!(waiting.end.as_mut().poll(cx));
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            Poll::Ready(Err(_)) => {}
        }
        wrote
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.settle(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.settle(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// How long `bytes` could be written to a peer that takes `share` of them a second, and whether all of them were.
    async fn written(bytes: usize, share: usize) -> (Duration, bool) {
        let (near, mut far) = duplex(1024);
        let mut near = Patient::new(near, WRITE_PATIENCE);
        let began = Instant::now();
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; share];
            while share > 0 && far.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        });
        let wrote = near.write_all(&vec![7; bytes]).await;
        reader.abort();
        if let Err(error) = &wrote {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        (began.elapsed(), wrote.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_after_the_patience() {
        assert_eq!(written(1024, 0).await, (Duration::ZERO, true), "there is room for so much");
        let (waited, is_written) = written(1025, 0).await;
        assert!(!is_written && (15_000..=15_001).contains(&waited.as_millis()), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_drips_is_given_up_and_one_that_is_slow_is_not() {
        let (waited, is_written) = written(100_000, 100).await;
        assert!(!is_written && (15..25).contains(&waited.as_secs()), "{waited:?}");
        let (waited, is_written) = written(100_000, 600).await;
        assert!(is_written && waited.as_secs() > 150, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_waits_does_not_count() {
        let (near, mut far) = duplex(1024);
        let mut near = Patient::new(near, WRITE_PATIENCE);
        for _ in 0..10 {
            near.write_all(&[7; 1024]).await.unwrap();
            tokio::time::sleep(WRITE_PATIENCE * 2).await;
            far.read_exact(&mut [0; 1024]).await.unwrap();
        }
    }
}
