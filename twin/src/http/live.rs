//! What pages watch, over WebSocket: the plant at a glance five times a second, and the field thirty times.
//!
//! Each message is made once, whoever watches, and each viewer holds the latest one and nothing else. A viewer that is
//! slower than the pictures misses some and gets a whole frame next: no queue grows, and no viewer delays another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::Surface;
use super::field;
use super::guard::Refusal;
use super::problem::Problem;
use super::view;

/// Viewers at the same time; a further one is refused.
const VIEWERS_MAX: u64 = 256;
/// A viewer that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Crossings and commands in a glance.
const LATEST: usize = 20;
/// Pictures for each glance: five a second.
const PICTURES_PER_GLANCE: u64 = 6;

/// What goes out to those who watch.
#[derive(Debug)]
pub struct Live {
    field: watch::Sender<Frame>,
    glance: watch::Sender<Utf8Bytes>,
    viewers: AtomicU64,
}

/// A change of the field.
#[derive(Clone, Debug, Default)]
struct Frame {
    /// The picture that it leads to.
    picture: u64,
    delta: Bytes,
    /// Sensors that were named by then.
    named: usize,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            field: watch::channel(Frame::default()).0,
            glance: watch::channel(Utf8Bytes::default()).0,
            viewers: AtomicU64::new(0),
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
            let named = self.field.borrow().named;
            let delta = field::delta(&mirror, named);
            let (picture, named) = (mirror.pictures(), mirror.sensors().len());
            self.field.send_replace(Frame { picture, delta, named });
        }
        let pictures = surface.mirror().pictures();
        if pictures.is_multiple_of(PICTURES_PER_GLANCE) && self.glance.receiver_count() > 0 {
            self.glance.send_replace(glance(surface));
        }
    }
}

fn glance(surface: &Surface) -> Utf8Bytes {
    let crossings = {
        let mirror = surface.mirror();
        let latest = mirror.crossings().rev().take(LATEST);
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
struct Viewer(Arc<Surface>);

impl Viewer {
    fn enter(surface: &Arc<Surface>) -> Option<Self> {
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
    Ok(plain(upgrade).on_upgrade(|socket| watch_glance(viewer, socket)))
}

pub(super) async fn field(
    State(surface): State<Arc<Surface>>,
    upgrade: WebSocketUpgrade,
) -> Result<impl IntoResponse, Problem> {
    let viewer = Viewer::enter(&surface).ok_or_else(full)?;
    Ok(plain(upgrade).on_upgrade(|socket| watch_field(viewer, socket)))
}

fn full() -> Problem {
    Problem::busy(format!("{VIEWERS_MAX} viewers watch already"))
}

/// A viewer has nothing to say that would be long.
fn plain(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.protocols(["pollux"]).max_message_size(1024)
}

async fn watch_glance(viewer: Viewer, mut socket: WebSocket) {
    let surface = &viewer.0;
    let mut glances = surface.live().glance.subscribe();
    let mut text = glance(surface);
    loop {
        if !send(&mut socket, Message::Text(text)).await {
            return;
        }
        text = tokio::select! {
            changed = glances.changed() => match changed {
                Ok(()) => glances.borrow_and_update().clone(),
                Err(_) => return,
            },
            () = closed(&mut socket) => return,
        };
    }
}

async fn watch_field(viewer: Viewer, mut socket: WebSocket) {
    let surface = &viewer.0;
    let mut frames = surface.live().field.subscribe();
    // The frame in the channel may be as old as the last viewer.
    frames.mark_unchanged();
    let (mut seen, mut bytes) = whole(surface);
    loop {
        if !send(&mut socket, Message::Binary(bytes)).await {
            return;
        }
        (seen, bytes) = tokio::select! {
            changed = frames.changed() => {
                if changed.is_err() {
                    return;
                }
                let frame = frames.borrow_and_update().clone();
                if frame.picture == seen + 1 { (frame.picture, frame.delta) } else { whole(surface) }
            }
            () = closed(&mut socket) => return,
        };
    }
}

fn whole(surface: &Surface) -> (u64, Bytes) {
    let mirror = surface.mirror();
    (mirror.pictures(), field::whole(&mirror))
}

/// Sends a message, and says whether the viewer is still there.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    let sent = tokio::time::timeout(PATIENCE, socket.send(message)).await;
    matches!(sent, Ok(Ok(())))
}

/// Ends when the viewer leaves. What it says meanwhile means nothing.
async fn closed(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
