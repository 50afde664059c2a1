//! The operator's HTTP surface: the dashboard, the API, `/metrics`, `/livez`, `/readyz`.
//!
//! It reads counters that the hot threads publish and what the cold thread owns, and asks for commands through rings; no
//! request can make a hot thread wait. What a request may do is decided in one place, `guard.rs`.

mod browsers;
mod door;
pub mod field;
pub mod guard;
mod live;
mod looks;
mod order;
mod page;
mod paging;
mod patience;
mod places;
mod problem;
mod query;
mod surface;
mod view;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use thiserror::Error;

pub use browsers::Browsers;
pub use door::{Door, DoorTls};
pub use live::Live;
pub use looks::Looks;
pub use surface::{Surface, SurfaceOptions};
pub(crate) use view::LEVELS;

use problem::Problem;

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

/// The routes of the surface.
pub fn router(surface: Arc<Surface>) -> Router {
    let guarded = from_fn_with_state(Arc::clone(&surface), guard::guard);
    page::routes()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .merge(Router::new().route("/metrics", get(metrics)).layer(guarded.clone()))
        .nest("/api/v1", api().layer(guarded))
        .layer(from_fn(door::hurry))
        .layer(from_fn_with_state(Arc::clone(&surface), page::harden))
        .with_state(surface)
}

fn api() -> Router<Arc<Surface>> {
    Router::new()
        .route("/overview", get(query::overview))
        .route("/aggregates", get(query::aggregates))
        .route("/latencies", get(query::latencies))
        .route("/devices", get(query::devices))
        .route("/devices/{device}", get(query::device))
        .route("/devices/{device}/sensors/{sensor}", get(query::sensor))
        .route("/devices/{device}/sensors/{sensor}/setpoint", post(order::setpoint))
        .route("/sensors", get(query::sensors))
        .route("/sessions", get(query::sessions))
        .route("/crossings", get(query::crossings))
        .route("/commands", get(query::commands))
        .route("/commands/{id}", get(query::command))
        .route("/stop", get(query::stop).post(order::stop))
        .route("/stop/clear", post(order::clear))
        .route("/live", get(live::live))
        .route("/field", get(live::field))
        .route("/webtransport", post(browsers::webtransport))
        .route("/openapi.json", get(page::openapi))
        .fallback(nothing)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(order::BODY_BYTES_MAX))
        .layer(map_response(uncached))
}

async fn nothing(uri: Uri) -> Problem {
    Problem::not_found(format!("{} is no resource of this API", uri.path()))
}

async fn not_allowed(uri: Uri) -> Problem {
    Problem::method(format!("{} has no such method", uri.path()))
}

/// What the API says holds for the moment.
async fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn metrics(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, EXPOSITION_TYPE)], surface.exposition())
}

async fn livez(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    if !surface.is_alive() {
        (StatusCode::SERVICE_UNAVAILABLE, "the tick has stood still for a second\n")
    } else if !surface.stats().is_served() {
        (StatusCode::SERVICE_UNAVAILABLE, "every worker stands still\n")
    } else {
        (StatusCode::OK, "live\n")
    }
}

async fn readyz(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    match surface.missing() {
        None => (StatusCode::OK, "ready\n"),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}
