//! Browsers that watch over WebTransport: on the port of the devices, through a worker, which only passes bytes on.
//!
//! A page asks here for a ticket, under the same policy as for everything else, and shows it to the worker, which hands it
//! back here. A ticket names one stream, is good once and for half a minute. Messages are the same as over WebSocket, and a
//! browser that has not taken two of them gets no third: it holds up nobody, and what it misses it gets with the next one.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use netloop::{SessionId, TICKET_BYTES, ViewerDesk, ViewerEvent, ViewerOrder};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use wire::CloseCode;

use super::Surface;
use super::live::{Message, Outlet, Stream, Viewer, watch};
use super::paging::Params;
use super::problem::Problem;

/// Tickets that were given out and not shown; the oldest one goes when one more is asked for.
const TICKETS_MAX: usize = 64;
/// How long a ticket is good.
const TICKET_NS: u64 = 30_000_000_000;
/// Messages that a browser may have on its way: one that it draws and one that travels meanwhile.
const UNTAKEN_MAX: usize = 2;
/// A browser that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a line to a worker that was full is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// The way to browsers, if there is one.
#[derive(Default)]
pub struct Browsers(Mutex<Ways>);

#[derive(Default)]
struct Ways {
    port: u16,
    /// SHA-256 of the certificate that workers show to browsers.
    certificate: Option<[u8; 32]>,
    desks: Vec<Arc<Mutex<ViewerDesk>>>,
    tickets: VecDeque<Ticket>,
    open: HashMap<SessionId, Open>,
}

struct Ticket {
    secret: [u8; TICKET_BYTES],
    stream: Stream,
    given_ns: u64,
}

/// A browser that watches.
struct Open {
    credit: Arc<Semaphore>,
    /// Dropped with the entry, which tells whoever serves the browser that it is gone.
    _alive: oneshot::Sender<()>,
}

const TAKEN: &str = "because the cold thread has not panicked";

impl Browsers {
    /// Opens the way: through these workers, at this UDP port. Without a certificate none may come.
    ///
    /// # Panics
    /// The cold thread has panicked.
    pub fn open(&self, port: u16, desks: Vec<ViewerDesk>, certificate: Option<[u8; 32]>) {
        let mut state = self.0.lock().expect(TAKEN);
        (state.port, state.certificate) = (port, certificate);
        state.desks = desks.into_iter().map(|desk| Arc::new(Mutex::new(desk))).collect();
    }

    /// The UDP port of the workers, where browsers may come to it.
    pub(super) fn port(&self) -> Option<u16> {
        let state = self.0.lock().expect(TAKEN);
        state.certificate.and(Some(state.port))
    }

    /// States the SHA-256 of the certificate that browsers are shown from now on.
    ///
    /// # Panics
    /// The cold thread has panicked.
    pub fn show(&self, certificate: Option<[u8; 32]>) {
        self.0.lock().expect(TAKEN).certificate = certificate;
    }

    /// Serves what browsers have asked and said since the last time. Runs on the runtime of the cold thread.
    ///
    /// # Panics
    /// The cold thread has panicked.
    pub fn poll(&self, surface: &Arc<Surface>) {
        let desks = self.0.lock().expect(TAKEN).desks.clone();
        for desk in &desks {
            loop {
                let event = desk.lock().expect(TAKEN).poll();
                match event {
                    Some(ViewerEvent::Asked { session, ticket }) => {
                        self.admit(surface, desk, session, ticket);
                    }
                    Some(ViewerEvent::Taken { session, messages }) => {
                        self.take(session, messages);
                    }
                    Some(ViewerEvent::Closed { session }) => {
                        drop(self.0.lock().expect(TAKEN).open.remove(&session));
                    }
                    None => break,
                }
            }
        }
    }

    /// Lets a browser watch what its ticket names.
    fn admit(
        &self,
        surface: &Arc<Surface>,
        desk: &Arc<Mutex<ViewerDesk>>,
        session: SessionId,
        ticket: [u8; TICKET_BYTES],
    ) {
        let now_ns = surface.elapsed_ns();
        let mut state = self.0.lock().expect(TAKEN);
        state.tickets.retain(|given| now_ns < given.given_ns + TICKET_NS);
        let found = state.tickets.iter().position(|given| given.secret == ticket);
        let stream = found.and_then(|at| state.tickets.remove(at)).map(|given| given.stream);
        let viewer = stream.and_then(|stream| Some((stream, Viewer::enter(surface)?)));
        let Some((stream, viewer)) = viewer else {
            let close = ViewerOrder::Close { session, code: CloseCode::Unauthorized };
            // A worker that takes nothing will close it for its silence.
            drop(desk.lock().expect(TAKEN).push(close));
            return;
        };
        let credit = Arc::new(Semaphore::new(UNTAKEN_MAX));
        let (alive, gone) = oneshot::channel();
        state.open.insert(session, Open { credit: Arc::clone(&credit), _alive: alive });
        let mut browser = Browser { session, desk: Arc::clone(desk), credit, gone };
        drop(tokio::spawn(async move {
            watch(viewer, stream, &mut browser).await;
            // A browser that is gone already needs no farewell.
            let _ = browser.push(ViewerOrder::Close { session, code: CloseCode::Done }).await;
        }));
    }

    /// Gives a browser credit for messages that it has taken, never more than it was ever sent.
    fn take(&self, session: SessionId, messages: u32) {
        if let Some(open) = self.0.lock().expect(TAKEN).open.get(&session) {
            let sent = UNTAKEN_MAX - open.credit.available_permits().min(UNTAKEN_MAX);
            open.credit.add_permits(sent.min(messages as usize));
        }
    }

    fn give(&self, stream: Stream, now_ns: u64) -> Result<Given, Problem> {
        let absent = || Problem::not_found("this twin serves no WebTransport".to_owned());
        let mut state = self.0.lock().expect(TAKEN);
        let certificate = state.certificate.ok_or_else(absent)?;
        let mut secret = [0; TICKET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| Problem::busy(error.to_string()))?;
        if state.tickets.len() == TICKETS_MAX {
            state.tickets.pop_front();
        }
        state.tickets.push_back(Ticket { secret, stream, given_ns: now_ns });
        Ok(Given { port: state.port, certificate_sha256: hex(&certificate), ticket: hex(&secret) })
    }
}

/// A browser, as a place where messages go.
struct Browser {
    session: SessionId,
    desk: Arc<Mutex<ViewerDesk>>,
    credit: Arc<Semaphore>,
    gone: oneshot::Receiver<()>,
}

impl Browser {
    async fn push(&self, mut order: ViewerOrder) -> bool {
        for _ in 0..PATIENCE.as_millis() / RETRY.as_millis() {
            let pushed = self.desk.lock().expect(TAKEN).push(order);
            match pushed {
                Ok(()) => return true,
                Err(back) => order = back,
            }
            tokio::time::sleep(RETRY).await;
        }
        false
    }
}

impl Outlet for Browser {
    async fn send(&mut self, message: Message) -> bool {
        let message = match message {
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Binary(bytes) => bytes,
        };
        let credit = tokio::select! {
            credit = tokio::time::timeout(PATIENCE, self.credit.acquire()) => credit,
            _ = &mut self.gone => return false,
        };
        let Ok(Ok(credit)) = credit else { return false };
        credit.forget();
        self.push(ViewerOrder::Send { session: self.session, message }).await
    }

    async fn closed(&mut self) {
        // It ends with an error, because nobody ever sends.
        let _ = (&mut self.gone).await;
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    stream: Stream,
}

/// What a page needs to watch over WebTransport.
#[derive(Debug, Serialize)]
pub(super) struct Given {
    /// UDP port, of the host that the page came from.
    port: u16,
    /// SHA-256 of the certificate there, in hexadecimal digits.
    certificate_sha256: String,
    /// What the browser has to show, in hexadecimal digits.
    ticket: String,
}

pub(super) async fn webtransport(
    State(surface): State<Arc<Surface>>,
    Params(Asked { stream }): Params<Asked>,
) -> Result<(StatusCode, Json<Given>), Problem> {
    let given = surface.browsers().give(stream, surface.elapsed_ns())?;
    Ok((StatusCode::CREATED, Json(given)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes whatever is written");
        text
    })
}
