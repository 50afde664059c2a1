//! What is answered to a request that cannot be served: problem details in JSON (RFC 9457).

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One problem: a kind that programs know, and a sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Form<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    const fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: String,
    ) -> Self {
        Self { status, kind, title, detail }
    }

    /// The request does not have the form that it should have.
    #[must_use]
    pub(super) const fn malformed(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request is not understood", detail)
    }

    /// Nothing has this name.
    #[must_use]
    pub(super) const fn not_found(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    /// The path is known and the method is not.
    #[must_use]
    pub(super) const fn method(detail: String) -> Self {
        let title = "The method is not allowed here";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", title, detail)
    }

    /// The caller has not said who it is.
    #[must_use]
    pub(super) const fn unauthorized(detail: String) -> Self {
        let title = "A token is needed";
        Self::new(StatusCode::UNAUTHORIZED, "token", title, detail)
    }

    /// The policy forbids it.
    #[must_use]
    pub(super) const fn forbidden(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "policy", "The policy forbids it", detail)
    }

    /// It cannot be done in the state that the plant is in.
    #[must_use]
    pub(super) const fn conflict(detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "The plant does not allow it now", detail)
    }

    /// The body is of another media type than JSON.
    #[must_use]
    pub(super) const fn media(detail: String) -> Self {
        let title = "The body has to be JSON";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", title, detail)
    }

    /// The body is longer than any that would be understood.
    #[must_use]
    pub(super) const fn large(detail: String) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too long", detail)
    }

    /// The caller took too long.
    #[must_use]
    pub(super) const fn late(detail: String) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "late", "The request took too long", detail)
    }

    /// Too much is on its way; it may be tried again.
    #[must_use]
    pub(super) const fn busy(detail: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much is on its way", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, title, detail } = self;
        let kind = format!("urn:pollux:problem:{kind}");
        let form = Form { r#type: kind, title, status: status.as_u16(), detail: &detail };
        let mut response = (status, Json(form)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(axum::http::header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
