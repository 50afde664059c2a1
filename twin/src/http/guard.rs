//! Who may ask, and who may command: one small policy.
//!
//! A browser that shows a foreign page may not speak for its user, so the origin has to be this twin, and on loopback the
//! host has to be named by its address: a name of somebody else that points here is refused. With a token, everything but
//! the probes and the page itself asks for it. What may be commanded is a setting. Every refusal has a reason and a count.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Commands;
use crate::stats::Counter;

use super::Surface;
use super::browsers::hex;
use super::places::Place;
use super::problem::Problem;

/// What stands before the bytes of a token, in hexadecimal digits, in the subprotocols of a WebSocket: all that a browser lets a
/// page set, and it takes fewer characters than a token does (RFC 6455, section 4.1).
const SUBPROTOCOL: &str = "pollux.bearer.";

/// What somebody wants to command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set an actuator.
    Setpoint,
    /// Stop the plant.
    Stop,
    /// Clear the stop.
    Clear,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// A page of another origin asked.
    Origin,
    /// The host is named by a name that may be anybody's.
    Host,
    /// There was no token, or another one.
    Token,
    /// The setting `http.commands` forbids it.
    Commands,
    /// The body was not of the form that it should have.
    Form,
    /// The order named nothing that there is.
    Unknown,
    /// The plant is stopped.
    Stopped,
    /// Too many orders were on their way.
    Busy,
    /// Too many connections were open.
    Connections,
    /// A handshake of TLS failed, for instance for want of a certificate.
    Tls,
}

impl Refusal {
    /// All names, as in the metrics.
    pub const NAMES: [&str; 10] = [
        "origin",
        "host",
        "token",
        "commands",
        "form",
        "unknown",
        "stopped",
        "busy",
        "connections",
        "tls",
    ];
}

/// Refusals so far.
#[derive(Debug, Default)]
pub struct Refusals([Counter; Refusal::NAMES.len()]);

impl Refusals {
    /// Counts one.
    pub fn add(&self, refusal: Refusal) {
        self.0[refusal as usize].add(1);
    }

    /// Counts by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::NAMES.into_iter().zip(self.0.iter().map(Counter::value))
    }
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What everybody has to know who asks for anything, if it is set.
    pub token: Option<String>,
    /// What may be commanded.
    pub commands: Commands,
    /// Only this machine can reach the listener.
    pub loopback: bool,
}

impl Policy {
    /// Whether an action may be done at all.
    #[must_use]
    pub const fn allows(&self, action: Action) -> bool {
        match (self.commands, action) {
            (Commands::All, _) | (Commands::Stop, Action::Stop) => true,
            (Commands::Stop | Commands::None, _) => false,
        }
    }

    /// Why a request with these headers is refused, if it is.
    #[must_use]
    pub fn refuse(&self, headers: &HeaderMap) -> Option<Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        if self.loopback && !names_this_machine(host) {
            return Some(Refusal::Host);
        }
        if headers.contains_key(ORIGIN) {
            let origin = text(ORIGIN).and_then(|origin| origin.split_once("://"));
            if origin.is_none_or(|(_, from)| from != host) {
                return Some(Refusal::Origin);
            }
        }
        let token = self.token.as_deref()?;
        let bearer = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let mut protocols =
            text(SEC_WEBSOCKET_PROTOCOL).into_iter().flat_map(|list| list.split(','));
        let is_shown = bearer.is_some_and(|shown| is_equal(shown, token))
            || protocols.any(|protocol| names_token(protocol, token));
        (!is_shown).then_some(Refusal::Token)
    }
}

/// Whether a subprotocol shows the token.
fn names_token(protocol: &str, token: &str) -> bool {
    let digits = protocol.trim().strip_prefix(SUBPROTOCOL);
    digits.is_some_and(|digits| is_equal(digits, &hex(token.as_bytes())))
}

/// Takes the same time wherever the difference is.
fn is_equal(left: &str, right: &str) -> bool {
    let pairs = left.bytes().zip(right.bytes());
    left.len() == right.len() && pairs.fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Whether a `Host` is an address or `localhost`, with or without a port.
fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let name = name.map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || host.parse::<IpAddr>().is_ok()
        || host.parse::<SocketAddr>().is_ok()
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// Lets a request through that the policy allows.
pub(super) async fn guard(
    State(surface): State<Arc<Surface>>,
    uri: Uri,
    request: Request,
    next: Next,
) -> Response {
    let Some(refusal) = surface.policy().refuse(request.headers()) else {
        if let Some(place) = request.extensions().get::<Arc<Place>>() {
            place.keep();
        }
        return next.run(request).await;
    };
    surface.refusals().add(refusal);
    let path = uri.path();
    match refusal {
        Refusal::Token => {
            Problem::unauthorized(format!("{path} needs `Authorization: Bearer TOKEN`"))
        }
        Refusal::Host => Problem::forbidden(
            "on loopback the twin is named by its address or as localhost".to_owned(),
        ),
        _ => Problem::forbidden("a page of another origin may not ask here".to_owned()),
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs =
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn policy(token: Option<&str>, loopback: bool) -> Policy {
        Policy { token: token.map(str::to_owned), commands: Commands::All, loopback }
    }

    #[test]
    fn a_page_of_another_origin_and_a_borrowed_name_are_refused() {
        let open = policy(None, true);
        let same = [(HOST, "127.0.0.1:9100"), (ORIGIN, "http://127.0.0.1:9100")];
        assert_eq!(open.refuse(&headers(&same)), None);
        let other = [(HOST, "127.0.0.1:9100"), (ORIGIN, "http://evil.example")];
        assert_eq!(open.refuse(&headers(&other)), Some(Refusal::Origin));
        let null = [(HOST, "127.0.0.1:9100"), (ORIGIN, "null")];
        assert_eq!(open.refuse(&headers(&null)), Some(Refusal::Origin));
        let borrowed = [(HOST, "evil.example:9100"), (ORIGIN, "http://evil.example:9100")];
        assert_eq!(open.refuse(&headers(&borrowed)), Some(Refusal::Host));
        for host in ["localhost", "localhost:80", "[::1]:9100", "::1", "192.168.0.7"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in ["", "localhost.evil.example", "a:b:c", "evil:80"] {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_asked_for_in_both_places_and_compared_whole() {
        let guarded = policy(Some("s3c/="), false);
        let with =
            |name: HeaderName, value| guarded.refuse(&headers(&[(HOST, "plant"), (name, value)]));
        assert_eq!(with(AUTHORIZATION, "Bearer s3c/="), None);
        assert_eq!(with(SEC_WEBSOCKET_PROTOCOL, "pollux, pollux.bearer.7333632f3d"), None);
        for value in ["Bearer s3c/", "Bearer s3c/==", "Basic s3c/=", "s3c/=", ""] {
            assert_eq!(with(AUTHORIZATION, value), Some(Refusal::Token), "{value}");
        }
        for value in ["pollux.bearer.7333632f3e", "pollux.bearer.s3c/=", "7333632f3d", "pollux"] {
            assert_eq!(with(SEC_WEBSOCKET_PROTOCOL, value), Some(Refusal::Token), "{value}");
        }
        assert_eq!(guarded.refuse(&headers(&[(HOST, "plant")])), Some(Refusal::Token));
    }

    #[test]
    fn the_table_of_commands_is_this() {
        let allowed = |commands| {
            let policy = Policy { token: None, commands, loopback: true };
            [Action::Setpoint, Action::Stop, Action::Clear].map(|action| policy.allows(action))
        };
        assert_eq!(allowed(Commands::All), [true, true, true]);
        assert_eq!(allowed(Commands::Stop), [false, true, false]);
        assert_eq!(allowed(Commands::None), [false, false, false]);
    }
}
