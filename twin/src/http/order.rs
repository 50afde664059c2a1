//! What the API lets operators command: a setpoint, the stop, and its end.
//!
//! A setpoint is answered when its device has answered, or when the deadline of the twin is over; `wait_ms=0` answers at
//! once. A stop is answered at once: it is on its way, and `GET /stop` tells who has acknowledged it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use wire::SensorType;

use crate::mirror::Mirror;
use crate::order::Order;

use super::Surface;
use super::guard::{Action, Refusal};
use super::paging::{Names, Params};
use super::problem::Problem;
use super::query::{self, find_device, parse_type};
use super::view;

/// Bytes of a request's body at most: a value and a type.
pub(super) const BODY_BYTES_MAX: usize = 4 << 10;
/// How long an answer waits for the device at most: the twin gives a command a second.
const WAIT_MS_MAX: u64 = 2000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setpoint {
    /// In the unit of the actuator.
    value: f64,
    /// What the actuator sets, if the twin does not know it yet.
    r#type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait_ms: Option<u64>,
}

pub(super) async fn setpoint(
    State(surface): State<Arc<Surface>>,
    Names((device, sensor)): Names<(String, String)>,
    Params(Wait { wait_ms }): Params<Wait>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<view::Command>), Problem> {
    allow(&surface, Action::Setpoint)?;
    let wait_ms = wait_ms.unwrap_or(WAIT_MS_MAX);
    if wait_ms > WAIT_MS_MAX {
        return Err(refuse(
            &surface,
            Refusal::Form,
            Problem::malformed,
            format!("wait_ms: at most {WAIT_MS_MAX}"),
        ));
    }
    let body = body.map_err(|reason| {
        let problem = match reason.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::large,
            _ => Problem::malformed,
        };
        refuse(&surface, Refusal::Form, problem, reason.body_text())
    })?;
    let asked_ns = surface.now_ns();
    surface.see_plant().await;
    let order = read(&surface, (&device, &sensor), &headers, &body)?;
    let order = Order { asked_ns, ..order };
    if surface.stop_asked().is_stopped() {
        let detail = "the plant is stopped; clear the stop first".to_owned();
        return Err(refuse(&surface, Refusal::Stopped, Problem::conflict, detail));
    }
    let Some(id) = surface.push_order(order) else {
        let detail = "commands wait for their devices; try again".to_owned();
        return Err(refuse(&surface, Refusal::Busy, Problem::busy, detail));
    };
    let ended = async {
        loop {
            // Made before the look, so that an end in between is not missed.
            let ended = surface.ended.notified();
            let given = surface.order(id).filter(|given| given.end.is_some());
            if let Some(given) = given {
                return given;
            }
            ended.await;
        }
    };
    let given = tokio::time::timeout(Duration::from_millis(wait_ms), ended).await;
    match given.ok().or_else(|| surface.order(id)) {
        Some(given) => {
            let status = if given.end.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok((status, Json(view::Command::of(&given))))
        }
        None => {
            Err(Problem::busy("so many commands followed that this one was forgotten".to_owned()))
        }
    }
}

fn allow(surface: &Surface, action: Action) -> Result<(), Problem> {
    if surface.policy().allows(action) {
        return Ok(());
    }
    let detail = "http.commands does not allow it".to_owned();
    Err(refuse(surface, Refusal::Commands, Problem::forbidden, detail))
}

fn refuse(
    surface: &Surface,
    refusal: Refusal,
    problem: fn(String) -> Problem,
    detail: String,
) -> Problem {
    surface.refusals().add(refusal);
    problem(detail)
}

/// The order that a request asks for, once all of it makes sense.
fn read(
    surface: &Surface,
    (device, sensor): (&str, &str),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Order, Problem> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.split(';').next().map(str::trim) != Some("application/json") {
        // A page of another origin can send a form without asking; JSON it cannot.
        let detail = "send `Content-Type: application/json`".to_owned();
        return Err(refuse(surface, Refusal::Form, Problem::media, detail));
    }
    let malformed = |detail| refuse(surface, Refusal::Form, Problem::malformed, detail);
    let asked: Setpoint =
        serde_json::from_slice(body).map_err(|reason| malformed(reason.to_string()))?;
    let asked_type = asked.r#type.as_deref().map(parse_type).transpose();
    let asked_type = asked_type.inspect_err(|_| surface.refusals().add(Refusal::Form))?;
    let mirror = surface.mirror();
    let unknown = |_: &Problem| surface.refusals().add(Refusal::Unknown);
    let found = find_device(&mirror, device).inspect_err(unknown)?;
    let absent = || query::absent(&mirror, format!("device {device} has no actuator {sensor}"));
    let actuator_id = sensor.parse().map_err(|_| absent()).inspect_err(unknown)?;
    if mirror.sensor(found.id, actuator_id).is_some() {
        unknown(&absent());
        return Err(Problem::conflict(format!("{sensor} of {device} is a sensor, no actuator")));
    }
    let heard_last = mirror.heard_last(found).map(|sensor| sensor.sensor_id);
    let via = heard_last.ok_or_else(absent).inspect_err(unknown)?;
    Ok(Order {
        id: 0,
        asked_ns: 0,
        device: found.id,
        actuator_id,
        sensor_type: actuator_type(&mirror, found.id, actuator_id)
            .or(asked_type)
            .unwrap_or(SensorType::Generic),
        via,
        value: asked.value,
    })
}

fn actuator_type(mirror: &Mirror, device: wire::DeviceId, actuator_id: u16) -> Option<SensorType> {
    let actuator = mirror.actuator(device, actuator_id)?;
    SensorType::from_u8(actuator.key.sensor_type)
}

pub(super) async fn stop(
    State(surface): State<Arc<Surface>>,
) -> Result<(StatusCode, Json<view::Stop>), Problem> {
    allow(&surface, Action::Stop)?;
    set_stopped(&surface, true)
}

pub(super) async fn clear(
    State(surface): State<Arc<Surface>>,
) -> Result<(StatusCode, Json<view::Stop>), Problem> {
    allow(&surface, Action::Clear)?;
    set_stopped(&surface, false)
}

fn set_stopped(
    surface: &Surface,
    stopped: bool,
) -> Result<(StatusCode, Json<view::Stop>), Problem> {
    let given = surface.set_stopped(stopped);
    given.ok_or_else(|| Problem::busy("there is no plant behind this surface".to_owned()))?;
    Ok((StatusCode::ACCEPTED, Json(view::Stop::of(surface))))
}
