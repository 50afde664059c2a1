//! Names that stand in more than one place: what is known here is known to page, description and dashboards, under the same
//! name.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::path::Path;

use serde_json::{Value, json};
use wire::{CloseCode, SensorType};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schemas() -> Value {
    let openapi: Value = serde_json::from_str(&read("src/http/openapi.json")).unwrap();
    openapi["components"]["schemas"].clone()
}

#[test]
fn sensor_types_have_the_same_names_everywhere() {
    let names = SensorType::ALL.map(SensorType::name);
    assert_eq!(schemas()["SensorType"]["enum"], json!(names));
    let page = read("web/dom.js");
    let types = page.lines().find_map(|line| line.strip_prefix("export const TYPES = ")).unwrap();
    let types: Value = serde_json::from_str(types.trim_end_matches(';')).unwrap();
    assert_eq!(types, json!(names));
    let (style, dashboard) =
        (read("web/style.css"), read("../deploy/grafana/dashboards/sensors.json"));
    let golden = read("tests/golden/pollux.toml");
    for (at, name) in names.iter().enumerate() {
        assert!(style.contains(&format!("--t{at}:")), "a colour for {name}");
        assert!(dashboard.contains(&format!("type=\\\"{name}\\\"")), "a panel for {name}");
        assert!(golden.contains(&format!("[thresholds.{name}]")), "thresholds for {name}");
    }
    assert!(!style.contains(&format!("--t{}:", names.len())), "a colour for no type");
}

#[test]
fn the_description_of_a_session_names_every_close_code() {
    let names = CloseCode::ALL.map(CloseCode::name).join("|");
    let pattern = schemas()["Session"]["properties"]["closed"]["pattern"].clone();
    let ends = "peer:unknown|tls:[0-9]+|idle|reset|transport";
    assert_eq!(pattern, format!("^((peer|local):({names})|{ends})$"));
}
