//! The dashboard: files that are part of the binary, served as they lie in `twin/web`.
//!
//! There is no build step and nothing is fetched from elsewhere; the policy of the page forbids it.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Surface;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path, media type and content of every file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../../web/index.html")),
    ("/style.css", STYLE, include_str!("../../web/style.css")),
    ("/icon.svg", IMAGE, include_str!("../../web/icon.svg")),
    ("/app.js", SCRIPT, include_str!("../../web/app.js")),
    ("/api.js", SCRIPT, include_str!("../../web/api.js")),
    ("/chart.js", SCRIPT, include_str!("../../web/chart.js")),
    ("/dom.js", SCRIPT, include_str!("../../web/dom.js")),
    ("/field.js", SCRIPT, include_str!("../../web/field.js")),
    ("/views.js", SCRIPT, include_str!("../../web/views.js")),
];

/// Scripts, styles and connections of this twin and of nobody else; no page may frame it.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(super) fn routes() -> Router<Arc<Surface>> {
    FILES.iter().fold(Router::new(), |router, &(path, media, content)| {
        // A page of another version than its twin would be worse than a page that is asked for again.
        let headers = [(CONTENT_TYPE, media), (CACHE_CONTROL, "no-cache")];
        router.route(path, get(move || async move { (headers, content) }))
    })
}

/// The description of the API.
pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

/// What every answer says to a browser.
pub(super) async fn harden(mut response: Response) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
