//! The baseline peer: the ordinary build of the twin, as its users would write it.
//!
//! quinn receives, tokio's multi-thread runtime runs a task for each session and stream, bounded
//! channels carry the records, and a thread with a bevy_ecs world drains them at a fixed tick. It
//! ends by itself after `--duration-s` or at SIGINT or SIGTERM, applies what the channels still
//! hold, and says what it did. It is a measuring stick, not a product: README.md says what it
//! leaves out and why the comparison is fair.

mod args;
mod endpoint;
mod feed;
mod meter;
mod record;
mod report;
mod session;
mod tick;
mod usage;
mod world;

use std::{sync::Arc, thread, time::Duration, time::Instant};

use anyhow::Context as _;
use args::Args;
use clap::Parser as _;
use session::Counters;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // The runtime that `#[tokio::main]` makes: one worker for each core.
    let runtime = tokio::runtime::Runtime::new().context("start the tokio runtime")?;
    runtime.block_on(run(args))
}

/// One run: listen, serve until told to stop, drain, report.
async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let listener = endpoint::listen(&args)?;
    let counters = Arc::new(Counters::default());
    let (feed, inbox) = feed::channels(args.channel, args.t1_items as usize);
    let world = world::new(inbox, args.drain_max);
    let tick_hz = args.tick_hz;
    let ticker = thread::Builder::new()
        .name("tick".into())
        .spawn(move || tick::run(world, tick_hz))
        .context("start the tick thread")?;
    println!("listening {}", listener.endpoint.local_addr()?);

    endpoint::serve(&listener.endpoint, feed, &counters, stop(args.duration_s)).await?;
    // The last sender is gone by now, so the tick thread ends as soon as the channels are empty.
    let ticked = tokio::task::spawn_blocking(move || ticker.join()).await?;
    let ticked = ticked.map_err(|_| anyhow::anyhow!("the tick thread panicked"))?;
    report::Summary::new(&args, &listener, &counters, &ticked, started.elapsed())?.publish(&args)
}

/// Completes when the run is over: at SIGINT, at SIGTERM, or after `duration_s` seconds.
async fn stop(duration_s: Option<u64>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A century stands for "until a signal comes".
    let duration = Duration::from_secs(duration_s.unwrap_or(100 * 365 * 86_400));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = tokio::time::sleep(duration) => {}
    }
    Ok(())
}
