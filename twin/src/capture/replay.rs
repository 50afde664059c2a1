//! The same world again: a capture's ticks through a world of the same options, each compared by its digest.
//!
//! Nothing of the run but the capture comes in: the clock stands still at the moment that the tick began with, rings are
//! not there, and what the world sends goes nowhere. The secrets of the index are others, since they decide only where in
//! memory a key lies.

use std::path::Path;
use std::sync::Arc;

use netloop::Due;
use thiserror::Error;

use crate::config::{Effective, Rejected};
use crate::interval::{IntervalConsumer, IntervalProducer, exchange};
use crate::stats::TwinStats;
use crate::world::{Lanes, SavedError, World, WorldOptions};

use super::file::Header;
use super::frames::Frame;
use super::state::State;

/// Why a capture cannot be replayed here.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// This build does not know the configuration that it was made with.
    #[error("the configuration of the capture is none of this build: {0}")]
    Config(#[from] Rejected),
}

/// A tick after which the world is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Its number.
    pub tick: u64,
    /// Digest in the capture.
    pub captured: u64,
    /// Digest of the replay.
    pub replayed: u64,
}

/// A world that is made again.
pub struct Replay {
    world: World,
    lanes: Lanes,
    stats: Arc<TwinStats>,
    producer: IntervalProducer,
    consumer: IntervalConsumer,
    records: u64,
    ticks: u64,
    difference: Option<Difference>,
}

/// The latencies of a replay mean nothing, so they are thrown away so often, in ticks.
const FORGET_TICKS: u64 = 1 << 16;

impl Replay {
    /// An empty world of the options that the capture was made with.
    ///
    /// # Errors
    /// This build does not know its configuration.
    pub fn new(header: &Header) -> Result<Self, ReplayError> {
        let effective = Effective::load_text(Path::new("capture"), &header.config)?;
        let options = WorldOptions::new(effective.config(), [0x706f_6c6c, 0x7578_0001]);
        Ok(Self::with_options(options))
    }

    /// An empty world of these options.
    #[must_use]
    pub fn with_options(options: WorldOptions) -> Self {
        let stats = Arc::new(TwinStats::default());
        let (producer, consumer, interval) = exchange(0);
        let mut world = World::new(options, Arc::clone(&stats), interval);
        world.keep_no_times();
        Self {
            world,
            lanes: Lanes::nowhere(Due::default()),
            stats,
            producer,
            consumer,
            records: 0,
            ticks: 0,
            difference: None,
        }
    }

    /// Begins with a state of the world instead of its beginning. Asked for before the first tick; after an error the replay is
    /// of no use.
    ///
    /// # Errors
    /// The state is none of a world of these options.
    pub fn restore(&mut self, state: &State<'_>) -> Result<(), SavedError> {
        self.world.restore(&state.saved)
    }

    /// Runs one tick. Gives the difference when it is the first tick that differs.
    pub fn apply(&mut self, frame: &Frame<'_>) -> Option<Difference> {
        let replayed = self.world.replay(&mut self.lanes, frame);
        self.ticks += 1;
        self.records += frame.records().iter().sum::<u64>();
        if self.ticks.is_multiple_of(FORGET_TICKS) {
            self.producer.swap(self.world.interval_mut(), 0);
            while let Some(interval) = self.consumer.poll() {
                self.consumer.recycle(interval);
            }
        }
        if replayed == frame.digest || self.difference.is_some() {
            return None;
        }
        let (tick, captured) = (frame.tick, frame.digest);
        self.difference = Some(Difference { tick, captured, replayed });
        self.difference
    }

    /// The first tick that differs, if one does.
    #[must_use]
    pub const fn difference(&self) -> Option<Difference> {
        self.difference
    }

    /// The world as it stands.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// What the world has counted.
    #[must_use]
    pub fn stats(&self) -> &TwinStats {
        &self.stats
    }

    /// Records that were replayed, of all tiers.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Ticks that were replayed.
    #[must_use]
    pub const fn ticks(&self) -> u64 {
        self.ticks
    }
}
