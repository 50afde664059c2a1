//! The dashboard: files that are part of the binary, served as they lie in `twin/web`.
//!
//! There is no build step and nothing is fetched from elsewhere; the policy of the page forbids it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
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
pub(super) async fn harden(
    State(surface): State<Arc<Surface>>,
    request: Request,
    next: Next,
) -> Response {
    let policy = policy(request.headers().get(HOST), surface.browsers().port());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The policy for a page that came from `host`: it may also connect to the same host at the port of the workers.
fn policy(host: Option<&HeaderValue>, port: Option<u16>) -> HeaderValue {
    let whole = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = whole.rsplit_once(':').map_or(whole, |(name, digits)| {
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { name } else { whole }
    });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    port.filter(|_| !name.is_empty() && name.bytes().all(plain))
        .map(|port| format!("{POLICY}; connect-src 'self' https://{name}:{port}"))
        .and_then(|policy| HeaderValue::try_from(policy).ok())
        .unwrap_or(HeaderValue::from_static(POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_connect_to_its_own_host_only() {
        let at = |host: &'static str, port| {
            let policy = policy(Some(&HeaderValue::from_static(host)), port);
            let policy = policy.to_str().unwrap().to_owned();
            policy.strip_prefix(POLICY).unwrap().to_owned()
        };
        assert_eq!(at("127.0.0.1:9100", Some(4433)), "; connect-src 'self' https://127.0.0.1:4433");
        assert_eq!(
            at("plant.example", Some(4433)),
            "; connect-src 'self' https://plant.example:4433"
        );
        assert_eq!(at("[::1]:9100", Some(4433)), "; connect-src 'self' https://[::1]:4433");
        for odd in ["a b", "a;b", "*", "", "a,b:80"] {
            assert_eq!(at(odd, Some(4433)), "", "{odd}");
        }
        assert_eq!(at("127.0.0.1:9100", None), "");
        assert_eq!(policy(None, Some(4433)), HeaderValue::from_static(POLICY));
    }
}
