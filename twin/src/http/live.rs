//! What pages watch: the plant at a glance five times a second, and the field thirty times.
//!
//! Each message is made once, whoever watches, and each viewer holds the latest one and nothing else. A viewer that is
//! slower than the pictures misses some and gets all that has changed meanwhile in one frame next: it never shows what is
//! no longer so, no queue grows, and no viewer delays another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{self, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch as latest;

use crate::mirror::Mirror;

use super::Surface;
use super::field;
use super::guard::Refusal;
use super::problem::Problem;
use super::view;

/// Viewers at the same time; a further one is refused.
const VIEWERS_MAX: u64 = 256;
/// A viewer that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a viewer may say at once.
const SAID_BYTES_MAX: usize = 1024;
/// Viewers of the field get a picture in turns, so many of them and so far apart: the last one within its period.
const TURNS: u64 = 7;
const TURN: Duration = Duration::from_millis(4);
/// Crossings and commands in a glance.
const LATEST: usize = 20;
/// Pictures for each glance: five a second.
const PICTURES_PER_GLANCE: u64 = 6;

/// What goes out to those who watch.
#[derive(Debug)]
pub struct Live {
    field: latest::Sender<Frame>,
    glance: latest::Sender<Utf8Bytes>,
    catch_ups: Mutex<CatchUps>,
    viewers: AtomicU64,
    /// Viewers of the field that ever were.
    entered: AtomicU64,
}

/// How far a viewer has seen the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    picture: u64,
    /// Sensors that were named by then.
    named: usize,
}

impl Seen {
    fn of(mirror: &Mirror) -> Self {
        Self { picture: mirror.pictures(), named: mirror.sensors().len() }
    }
}

/// A change of the field.
#[derive(Clone, Debug, Default)]
struct Frame {
    /// What it leads to.
    seen: Seen,
    delta: Bytes,
}

/// What viewers get that have missed pictures: made once for all that have seen the same.
#[derive(Debug, Default)]
struct CatchUps {
    /// What they lead to.
    seen: Seen,
    frames: Vec<(Seen, Bytes)>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            field: latest::channel(Frame::default()).0,
            glance: latest::channel(Utf8Bytes::default()).0,
            catch_ups: Mutex::default(),
            viewers: AtomicU64::new(0),
            entered: AtomicU64::new(0),
        }
    }
}

/// The plant at a glance, with what happened last.
#[derive(Serialize)]
struct Glance {
    overview: view::Overview,
    aggregates: Vec<view::Aggregate>,
    crossings: Vec<view::Crossing>,
    commands: Vec<view::Command>,
}

impl Live {
    /// WebSockets that are open.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.viewers.load(Relaxed)
    }

    /// Makes what the latest picture of the mirror gives to watch, if anybody does.
    pub fn publish(&self, surface: &Surface) {
        if self.field.receiver_count() > 0 {
            let mirror = surface.mirror();
            let named = self.field.borrow().seen.named;
            let delta = field::delta(&mirror, named);
            self.field.send_replace(Frame { seen: Seen::of(&mirror), delta });
        }
        let pictures = surface.mirror().pictures();
        if pictures.is_multiple_of(PICTURES_PER_GLANCE) && self.glance.receiver_count() > 0 {
            self.glance.send_replace(glance(surface));
        }
    }
}

impl Live {
    /// All that has changed since a viewer has last seen the field.
    fn catch_up(&self, mirror: &Mirror, from: Seen) -> (Seen, Bytes) {
        let mut held = self.catch_ups.lock().expect("because the cold thread has not panicked");
        let now = Seen::of(mirror);
        if held.seen != now {
            *held = CatchUps { seen: now, frames: Vec::new() };
        }
        let found =
            held.frames.iter().find(|(seen, _)| *seen == from).map(|(_, frame)| frame.clone());
        let frame = found.unwrap_or_else(|| {
            let frame = field::since(mirror, from.picture, from.named);
            held.frames.push((from, frame.clone()));
            frame
        });
        (now, frame)
    }
}

fn glance(surface: &Surface) -> Utf8Bytes {
    let crossings = {
        let mirror = surface.mirror();
        let latest = mirror.named_crossings().rev().take(LATEST);
        latest.map(|crossing| view::Crossing::of(&mirror, crossing)).collect()
    };
    let glance = Glance {
        overview: view::Overview::of(surface),
        aggregates: view::Aggregate::all(surface),
        crossings,
        commands: surface.orders().iter().take(LATEST).map(view::Command::of).collect(),
    };
    serde_json::to_string(&glance).expect("because its maps have names as keys").into()
}

/// Counts a viewer for as long as it watches.
pub(super) struct Viewer(Arc<Surface>);

impl Viewer {
    pub(super) fn enter(surface: &Arc<Surface>) -> Option<Self> {
        if surface.live().viewers() >= VIEWERS_MAX {
            surface.refusals().add(Refusal::Busy);
            return None;
        }
        surface.live().viewers.fetch_add(1, Relaxed);
        Some(Self(Arc::clone(surface)))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.live().viewers.fetch_sub(1, Relaxed);
    }
}

pub(super) async fn live(
    State(surface): State<Arc<Surface>>,
    upgrade: WebSocketUpgrade,
) -> Result<impl IntoResponse, Problem> {
    let viewer = Viewer::enter(&surface).ok_or_else(full)?;
    Ok(plain(upgrade).on_upgrade(|mut socket| async move {
        watch(viewer, Stream::Live, &mut socket).await;
    }))
}

pub(super) async fn field(
    State(surface): State<Arc<Surface>>,
    upgrade: WebSocketUpgrade,
) -> Result<impl IntoResponse, Problem> {
    let viewer = Viewer::enter(&surface).ok_or_else(full)?;
    Ok(plain(upgrade).on_upgrade(|mut socket| async move {
        watch(viewer, Stream::Field, &mut socket).await;
    }))
}

fn full() -> Problem {
    Problem::busy(format!("{VIEWERS_MAX} viewers watch already"))
}

/// A viewer has nothing to say that would be long, and the room for it is cleared whenever somebody looks whether it said
/// something: with every frame.
fn plain(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.protocols(["pollux"]).max_message_size(SAID_BYTES_MAX).read_buffer_size(SAID_BYTES_MAX)
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stream {
    /// The plant at a glance.
    Live,
    /// The field.
    Field,
}

/// A message, whatever carries it.
pub(super) enum Message {
    Text(Utf8Bytes),
    Binary(Bytes),
}

/// Where the messages of one viewer go.
pub(super) trait Outlet {
    /// Sends a message, and says whether the viewer is still there.
    async fn send(&mut self, message: Message) -> bool;

    /// Ends when the viewer leaves.
    async fn closed(&mut self);
}

impl Outlet for WebSocket {
    async fn send(&mut self, message: Message) -> bool {
        let message = match message {
            Message::Text(text) => ws::Message::Text(text),
            Message::Binary(bytes) => ws::Message::Binary(bytes),
        };
        let sent = tokio::time::timeout(PATIENCE, Self::send(self, message)).await;
        matches!(sent, Ok(Ok(())))
    }

    async fn closed(&mut self) {
        // What it says meanwhile means nothing.
        while let Some(Ok(message)) = self.recv().await {
            if matches!(message, ws::Message::Close(_)) {
                return;
            }
        }
    }
}

/// Sends a viewer what it watches, until it leaves.
pub(super) async fn watch(viewer: Viewer, stream: Stream, outlet: &mut impl Outlet) {
    match stream {
        Stream::Live => watch_glance(&viewer.0, outlet).await,
        Stream::Field => watch_field(&viewer.0, outlet).await,
    }
}

async fn watch_glance(surface: &Surface, outlet: &mut impl Outlet) {
    let mut glances = surface.live().glance.subscribe();
    surface.see_plant().await;
    let mut text = glance(surface);
    while outlet.send(Message::Text(text)).await {
        text = tokio::select! {
            changed = glances.changed() => match changed {
                Ok(()) => glances.borrow_and_update().clone(),
                Err(_) => return,
            },
            () = outlet.closed() => return,
        };
    }
}

/// The frames of a hundred viewers at once are megabytes through the kernel, and hot threads would wait until it has sent them.
/// So each viewer has its turn: a picture a little later for some, and no burst for the host.
async fn watch_field(surface: &Surface, outlet: &mut impl Outlet) {
    let turn = TURN * (surface.live().entered.fetch_add(1, Relaxed) % TURNS) as u32;
    let mut frames = surface.live().field.subscribe();
    // The frame in the channel may be as old as the last viewer.
    frames.mark_unchanged();
    surface.see_plant().await;
    let (mut seen, mut bytes) = {
        let mirror = surface.mirror();
        (Seen::of(&mirror), field::whole(&mirror))
    };
    while outlet.send(Message::Binary(bytes)).await {
        (seen, bytes) = tokio::select! {
            changed = frames.changed() => {
                if changed.is_err() {
                    return;
                }
                if !turn.is_zero() {
                    tokio::time::sleep(turn).await;
                }
                let frame = frames.borrow_and_update().clone();
                if frame.seen.picture == seen.picture + 1 {
                    (frame.seen, frame.delta)
                } else {
                    surface.live().catch_up(&surface.mirror(), seen)
                }
            }
            () = outlet.closed() => return,
        };
    }
}
