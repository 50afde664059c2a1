//! The operator's HTTP surface: `/metrics`, `/livez`, `/readyz`.
//!
//! It reads counters that the hot threads publish and histograms that the cold thread owns; no request
//! can make a hot thread wait. It serves text, takes no body and changes nothing.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use thiserror::Error;

use crate::metrics::{Sources, exposition};
use crate::report::Report;
use crate::stats::TwinStats;

/// Media type of Prometheus' text format.
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the surface cannot be served.
#[derive(Debug, Error)]
#[error("http.addr {addr}: cannot listen: {reason}")]
pub struct BindError {
    addr: SocketAddr,
    reason: std::io::Error,
}

/// Takes the address, so that a taken port is known before anything starts.
///
/// # Errors
///
/// The address is taken, not ours, or not allowed.
pub fn bind(addr: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(addr).map_err(|reason| BindError { addr, reason })?;
    listener.set_nonblocking(true).map_err(|reason| BindError { addr, reason })?;
    Ok(listener)
}

/// What the surface shows.
pub struct Surface {
    stats: Arc<TwinStats>,
    // Only the cold thread takes it; axum asks for a type that could be shared.
    report: Mutex<Report>,
    rss_bytes: fn() -> u64,
    live: AtomicBool,
}

impl Surface {
    /// A surface over the counters, the report, and a reading of resident memory in bytes.
    #[must_use]
    pub fn new(stats: Arc<TwinStats>, report: Report, rss_bytes: fn() -> u64) -> Arc<Self> {
        Arc::new(Self { stats, report: Mutex::new(report), rss_bytes, live: AtomicBool::new(true) })
    }

    /// The counters of the hot threads.
    #[must_use]
    pub fn stats(&self) -> &TwinStats {
        &self.stats
    }

    /// The report, for as long as the guard lives. A hot thread never asks for it.
    ///
    /// # Panics
    ///
    /// The cold thread has panicked while it held the report.
    pub fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect("because the cold thread has not panicked")
    }

    /// States whether the tick has advanced since the last time it was asked.
    pub fn set_live(&self, live: bool) {
        self.live.store(live, Relaxed);
    }

    fn exposition(&self) -> String {
        let report = self.report();
        exposition(&Sources {
            stats: &self.stats,
            worker: &self.stats.worker(),
            total: &|latency| report.total(latency),
            rss_bytes: (self.rss_bytes)(),
        })
    }

    /// What is missing before devices can be served, if anything is.
    fn missing(&self) -> Option<&'static str> {
        if self.stats.workers().iter().any(|worker| worker.turns.value() == 0) {
            Some("a worker does not listen yet\n")
        } else if self.stats.tick.ticks.value() == 0 {
            Some("no tick has run yet\n")
        } else {
            None
        }
    }
}

/// The routes of the surface.
pub fn router(surface: Arc<Surface>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(surface)
}

async fn metrics(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, EXPOSITION_TYPE)], surface.exposition())
}

async fn livez(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    if surface.live.load(Relaxed) {
        (StatusCode::OK, "live\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the tick has stood still for a second\n")
    }
}

async fn readyz(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    match surface.missing() {
        None => (StatusCode::OK, "ready\n"),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}
