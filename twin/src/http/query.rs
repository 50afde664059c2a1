//! What the API answers: lists with filters, in pages, and single things by their names.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::{DeviceId, SensorType};

use crate::mirror::{self, Mirror};
use crate::world::Direction;

use super::Surface;
use super::paging::{Names, Page, Params};
use super::problem::Problem;
use super::view::{self, LEVELS};

type Shown = State<Arc<Surface>>;
type Answer<T> = Result<Json<T>, Problem>;

pub(super) async fn overview(State(surface): Shown) -> Json<view::Overview> {
    surface.see_plant().await;
    Json(view::Overview::of(&surface))
}

pub(super) async fn aggregates(State(surface): Shown) -> Json<Vec<view::Aggregate>> {
    Json(view::Aggregate::all(&surface))
}

pub(super) async fn latencies(State(surface): Shown) -> Json<Vec<view::LatencyView>> {
    Json(view::LatencyView::all(&surface))
}

/// How devices are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeviceOrder {
    /// By their numbers.
    #[default]
    Seen,
    /// Those with the oldest value first.
    Age,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DevicesQuery {
    /// The name begins so.
    prefix: Option<String>,
    #[serde(default)]
    sort: DeviceOrder,
    after: Option<usize>,
    limit: Option<usize>,
}

pub(super) async fn devices(
    State(surface): Shown,
    Params(query): Params<DevicesQuery>,
) -> Answer<Page<view::Device>> {
    surface.see_plant().await;
    let mirror = surface.mirror();
    let prefix = query.prefix.unwrap_or_default().to_lowercase();
    let named = |device: &&mirror::Device| {
        prefix.is_empty() || device.id.to_string().starts_with(prefix.as_str())
    };
    let mut devices: Vec<&mirror::Device> = mirror.devices().iter().filter(named).collect();
    if query.sort == DeviceOrder::Age {
        devices.sort_by_cached_key(|device| oldest_us(&mirror, device));
    }
    let make = |device| view::Device::of(&mirror, device);
    Page::of(devices.into_iter(), query.after, query.limit, make).map(Json)
}

/// Send time of the oldest of a device's latest values; a device that has shown none comes last.
fn oldest_us(mirror: &Mirror, device: &mirror::Device) -> u64 {
    let sensors = device.sensors.iter().map(|&number| &mirror.sensors()[number as usize]);
    let known = sensors.filter(|sensor| sensor.recv_ns > 0).map(|sensor| sensor.ts_us);
    known.min().unwrap_or(u64::MAX)
}

pub(super) async fn device(
    State(surface): Shown,
    Names(device): Names<String>,
) -> Answer<view::DeviceWhole> {
    surface.see_plant().await;
    let mirror = surface.mirror();
    let found = find_device(&mirror, &device)?;
    Ok(Json(view::DeviceWhole::of(&mirror, found)))
}

/// What is said of a name that the mirror does not hold: while it is not whole, nobody knows whether there is such a thing.
pub(super) fn absent(mirror: &Mirror, detail: String) -> Problem {
    if mirror.is_complete() {
        return Problem::not_found(detail);
    }
    Problem::busy(format!("{detail} yet: the plant is still being shown; try again"))
}

/// The device of this name.
pub(super) fn find_device<'m>(
    mirror: &'m Mirror,
    name: &str,
) -> Result<&'m mirror::Device, Problem> {
    let id: Option<DeviceId> = view::parse_device(name);
    let found = id.and_then(|id| mirror.device(id));
    found.ok_or_else(|| absent(mirror, format!("no device is called {name}")))
}

pub(super) async fn sensor(
    State(surface): Shown,
    Names((device, sensor)): Names<(String, String)>,
) -> Answer<view::Sensor> {
    surface.see_plant().await;
    let mirror = surface.mirror();
    let found = find_device(&mirror, &device)?;
    let number = sensor.parse().ok().and_then(|sensor_id| mirror.sensor(found.id, sensor_id));
    let number =
        number.ok_or_else(|| absent(&mirror, format!("device {device} has no sensor {sensor}")))?;
    Ok(Json(view::Sensor::of(&mirror, number)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SensorsQuery {
    device: Option<String>,
    r#type: Option<String>,
    level: Option<String>,
    /// The latest value is at least so old.
    min_age_ms: Option<u64>,
    after: Option<usize>,
    limit: Option<usize>,
}

pub(super) async fn sensors(
    State(surface): Shown,
    Params(query): Params<SensorsQuery>,
) -> Answer<Page<view::Sensor>> {
    surface.see_plant().await;
    let mirror = surface.mirror();
    let only = query.device.as_deref().map(|name| find_device(&mirror, name)).transpose()?;
    let sensor_type = query.r#type.as_deref().map(parse_type).transpose()?;
    let level = query.level.as_deref().map(parse_level).transpose()?;
    let passes = |&number: &u32| {
        let sensor = &mirror.sensors()[number as usize];
        let old = |ms: u64| view::age_s(&mirror, sensor).is_some_and(|s| s * 1e3 >= ms as f64);
        sensor_type.is_none_or(|wanted| sensor.sensor_type == wanted)
            && level.is_none_or(|wanted| sensor.level == wanted)
            && query.min_age_ms.is_none_or(old)
    };
    let make = |number| view::Sensor::of(&mirror, number);
    let page = match only {
        Some(device) => {
            let numbers = device.sensors.iter().copied().filter(passes);
            Page::of(numbers, query.after, query.limit, make)
        }
        None => {
            let numbers = (0..mirror.sensors().len() as u32).filter(passes);
            Page::of(numbers, query.after, query.limit, make)
        }
    };
    page.map(Json)
}

/// The sensor type of this name.
pub(super) fn parse_type(name: &str) -> Result<SensorType, Problem> {
    let known = SensorType::ALL.into_iter().find(|sensor_type| sensor_type.name() == name);
    let names = SensorType::ALL.map(SensorType::name).join(", ");
    known.ok_or_else(|| Problem::malformed(format!("type: must be one of {names}")))
}

fn parse_level(name: &str) -> Result<u8, Problem> {
    let known = LEVELS.iter().position(|known| *known == name);
    let names = LEVELS.join(", ");
    let known =
        known.ok_or_else(|| Problem::malformed(format!("level: must be one of {names}")))?;
    Ok(known as u8)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsQuery {
    /// `open` or `closed`.
    state: Option<String>,
    after: Option<usize>,
    limit: Option<usize>,
}

pub(super) async fn sessions(
    State(surface): Shown,
    Params(query): Params<SessionsQuery>,
) -> Answer<Page<view::Session>> {
    let open = match query.state.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(_) => return Err(Problem::malformed("state: must be open or closed".to_owned())),
    };
    let (mirror, now_ns) = (surface.mirror(), surface.now_ns());
    let wanted = |session: &&crate::picture::ShownSession| {
        open.is_none_or(|open| session.closed.is_none() == open)
    };
    let make = |session| view::Session::of(session, now_ns);
    Page::of(mirror.sessions().filter(wanted), query.after, query.limit, make).map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrossingsQuery {
    device: Option<String>,
    r#type: Option<String>,
    direction: Option<String>,
    after: Option<usize>,
    limit: Option<usize>,
}

/// The latest crossings, the last one first.
pub(super) async fn crossings(
    State(surface): Shown,
    Params(query): Params<CrossingsQuery>,
) -> Answer<Page<view::Crossing>> {
    surface.see_plant().await;
    let mirror = surface.mirror();
    let device = query.device.as_deref().map(|name| find_device(&mirror, name)).transpose()?;
    let sensor_type = query.r#type.as_deref().map(parse_type).transpose()?;
    let direction = match query.direction.as_deref() {
        None => None,
        Some("up") => Some(Direction::Up),
        Some("down") => Some(Direction::Down),
        Some(_) => return Err(Problem::malformed("direction: must be up or down".to_owned())),
    };
    let wanted = |(crossing, sensor): &(&mirror::Crossing, &mirror::Sensor)| {
        sensor_type.is_none_or(|wanted| sensor.sensor_type == wanted)
            && device.is_none_or(|device| mirror.device_of(sensor) == device.id)
            && direction.is_none_or(|wanted| crossing.direction == wanted)
    };
    let make = |crossing| view::Crossing::of(&mirror, crossing);
    let found = mirror.named_crossings().rev().filter(wanted);
    Page::of(found, query.after, query.limit, make).map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandsQuery {
    after: Option<usize>,
    limit: Option<usize>,
}

/// The latest commands of operators, the last one first.
pub(super) async fn commands(
    State(surface): Shown,
    Params(query): Params<CommandsQuery>,
) -> Answer<Page<view::Command>> {
    let orders = surface.orders();
    let make = |given| view::Command::of(given);
    Page::of(orders.iter(), query.after, query.limit, make).map(Json)
}

pub(super) async fn command(
    State(surface): Shown,
    Names(id): Names<String>,
) -> Answer<view::Command> {
    let given = id.parse().ok().and_then(|id| surface.order(id));
    let given = given.ok_or_else(|| Problem::not_found(format!("no command {id} is kept")))?;
    Ok(Json(view::Command::of(&given)))
}

pub(super) async fn stop(State(surface): Shown) -> Json<view::Stop> {
    Json(view::Stop::of(&surface))
}
