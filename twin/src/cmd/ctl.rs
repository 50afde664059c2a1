//! `pollux ctl`: the API of a running twin from the shell.

use std::process::ExitCode;
use std::time::Duration;

use netloop::{Clock, wait_until};
use serde_json::{Value, json};

use crate::args::{CtlArgs, CtlCommand, EXIT_FAILED, Listing};
use crate::client::{Client, ClientError};
use crate::listing::{Column, csv, table};
use crate::say;

const DEVICES: &[Column] = &[
    ("DEVICE", "device"),
    ("SENSORS", "sensors"),
    ("ACTUATORS", "actuators"),
    ("OUTSIDE", "outside"),
    ("OLDEST S", "worst_age_s"),
];
const SENSORS: &[Column] = &[
    ("DEVICE", "device"),
    ("SENSOR", "sensor"),
    ("TYPE", "type"),
    ("VALUE", "value"),
    ("SMOOTHED", "smoothed"),
    ("UNIT", "unit"),
    ("LEVEL", "level"),
    ("AGE S", "age_s"),
];
const SESSIONS: &[Column] = &[
    ("SESSION", "session"),
    ("REMOTE", "remote"),
    ("DEVICE", "device"),
    ("EPOCH", "epoch"),
    ("COMMANDS", "answers_commands"),
    ("OPEN S", "age_s"),
    ("CLOSED", "closed"),
];
const CROSSINGS: &[Column] = &[
    ("NUMBER", "number"),
    ("DEVICE", "device"),
    ("SENSOR", "sensor"),
    ("TYPE", "type"),
    ("DIRECTION", "direction"),
    ("SMOOTHED", "smoothed"),
    ("UNIT", "unit"),
    ("SENT", "sent_unix_ms"),
];
const COMMANDS: &[Column] = &[
    ("ID", "id"),
    ("ASKED", "asked_unix_ms"),
    ("DEVICE", "device"),
    ("ACTUATOR", "sensor"),
    ("VALUE", "value"),
    ("STATE", "state"),
    ("HOLDS", "holds"),
    ("TOOK MS", "took_ms"),
];
const STOP: &[Column] = &[
    ("STOPPED", "stopped"),
    ("TAKEN", "taken"),
    ("CONCERNED", "concerned"),
    ("ACKNOWLEDGED", "acknowledged"),
    ("REFUSED", "refused"),
    ("GONE", "gone"),
    ("WAITING", "waiting"),
];

/// Sessions have so long to acknowledge a stop before the shell says that they have not.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Does one thing and prints what came of it.
///
/// # Errors
/// Nobody answers, or the twin refuses.
pub fn run(args: &CtlArgs) -> anyhow::Result<ExitCode> {
    let client = args.surface.client()?;
    let (columns, said) = ask(&client, &args.command)?;
    let items = match said.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ => vec![said.clone()],
    };
    if let Some(line) = cut(&args.command, &said) {
        say::note(line);
    }
    say::print(match args.output {
        Listing::Table => table(columns, &items),
        Listing::Json => format!("{said:#}\n"),
        Listing::Csv => csv(columns, &items),
    })?;
    Ok(if is_done(&args.command, &said) { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// What a list leaves out, and what to ask for to see it.
fn cut(command: &CtlCommand, said: &Value) -> Option<String> {
    let (total, shown) = (said["total"].as_u64()?, said["items"].as_array()?.len());
    let next = said["next"].as_u64()?;
    let more = match command {
        // It takes neither.
        CtlCommand::Read { .. } => "`pollux ctl sensors` has pages".to_owned(),
        _ => format!("--limit up to 1000, --after {next} for more"),
    };
    Some(format!("{shown} of {total} ({more})"))
}

fn ask(client: &Client, command: &CtlCommand) -> Result<(&'static [Column], Value), ClientError> {
    Ok(match command {
        CtlCommand::Setpoint { device, actuator, value, sensor_type } => {
            let mut body = json!({ "value": value });
            if let Some(sensor_type) = sensor_type {
                body["type"] = json!(sensor_type);
            }
            let path = format!("/devices/{device}/sensors/{actuator}/setpoint");
            (COMMANDS, client.post(&path, Some(&body))?)
        }
        CtlCommand::Read { device, sensor: Some(sensor) } => {
            (SENSORS, client.get(&format!("/devices/{device}/sensors/{sensor}"))?)
        }
        CtlCommand::Read { device, sensor: None } => {
            (SENSORS, client.get(&format!("/sensors?limit=1000&device={device}"))?)
        }
        CtlCommand::Stop => (STOP, follow(client, "/stop")?),
        CtlCommand::Clear => (STOP, follow(client, "/stop/clear")?),
        CtlCommand::Devices { page, sort } => {
            let sort = if *sort { "age" } else { "seen" };
            (DEVICES, client.get(&format!("/devices?sort={sort}&{}", page.query()))?)
        }
        CtlCommand::Sensors { page, level, min_age_ms } => {
            let mut path = format!("/sensors?{}", page.query());
            for (name, value) in
                [("level", level.clone()), ("min_age_ms", min_age_ms.map(|n| n.to_string()))]
            {
                if let Some(value) = value {
                    path += &format!("&{name}={value}");
                }
            }
            (SENSORS, client.get(&path)?)
        }
        CtlCommand::Sessions { page } => {
            (SESSIONS, client.get(&format!("/sessions?{}", page.query()))?)
        }
        CtlCommand::Crossings { page } => {
            (CROSSINGS, client.get(&format!("/crossings?{}", page.query()))?)
        }
        CtlCommand::Commands { page } => {
            (COMMANDS, client.get(&format!("/commands?{}", page.query()))?)
        }
    })
}

/// Asks for a stop or a clear, and looks until everybody has answered or the patience is over.
fn follow(client: &Client, path: &str) -> Result<Value, ClientError> {
    let mut said = client.post(path, None)?;
    for _ in 0..STOP_PATIENCE.as_millis() / STOP_LOOK.as_millis() {
        wait_until(Clock::new().now().instant + STOP_LOOK, Duration::ZERO);
        said = client.get("/stop")?;
        if said["taken"] == true && said["waiting"] == 0 {
            break;
        }
    }
    Ok(said)
}

/// Whether what was asked for was done, and not merely answered.
fn is_done(command: &CtlCommand, said: &Value) -> bool {
    match command {
        CtlCommand::Setpoint { .. } => said["state"] == "acknowledged",
        CtlCommand::Stop => is_told(said, true),
        CtlCommand::Clear => is_told(said, false),
        _ => true,
    }
}

/// Whether what was asked for holds and everybody has answered to it. Counts are zero before the tick has taken a request, and
/// somebody else may have asked for the opposite meanwhile.
fn is_told(said: &Value, stopped: bool) -> bool {
    said["stopped"] == stopped
        && said["taken"] == true
        && said["acknowledged"].is_u64()
        && said["acknowledged"] == said["concerned"]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stopped: bool, taken: bool, [concerned, acknowledged]: [u64; 2]) -> Value {
        json!({
            "stopped": stopped,
            "taken": taken,
            "concerned": concerned,
            "acknowledged": acknowledged,
        })
    }

    #[test]
    fn a_stop_is_done_once_the_tick_has_taken_it_it_holds_and_all_have_answered() {
        for (command, stopped) in [(CtlCommand::Stop, true), (CtlCommand::Clear, false)] {
            let cases = [
                (said(stopped, true, [8, 8]), true),
                (said(stopped, true, [0, 0]), true),
                (said(stopped, true, [8, 7]), false),
                (said(stopped, false, [0, 0]), false),
                (said(!stopped, true, [8, 8]), false),
                (json!({}), false),
            ];
            for (said, done) in cases {
                assert_eq!(is_done(&command, &said), done, "{command:?}: {said}");
            }
        }
    }
}
