//! What operators do, end to end: a twin and a load as processes, asked and commanded over HTTP, WebSocket and the shell.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

mod process;

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use process::{Ended, Running, Serve, plant, pollux};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, connect};
use twin::client::{Client, ClientError};

const LOOKS_MAX: u32 = 3000;
const LOOK: Duration = Duration::from_millis(20);

/// A twin with a load of forty sensors on eight devices behind eight sessions.
struct Operated {
    twin: Serve,
    load: Running,
    client: Client,
    folder: tempfile::TempDir,
}

impl Operated {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments for the twin.
    fn start_with(more: &[&str]) -> Self {
        let folder = plant();
        let twin = Serve::start_with(folder.path(), more);
        let load = twin.simulate(&["--devices", "8", "--rate-hz", "20"]);
        let client = Client::new(&twin.http.to_string(), None).unwrap();
        let operated = Self { twin, load, client, folder };
        operated.await_devices();
        operated
    }

    fn await_devices(&self) {
        let all = |overview: &Value| overview["sensors"] == 40 && overview["sessions"] == 8;
        self.await_answer("/overview", all);
        // Before its hello a session answers no commands.
        self.await_answer("/sessions", |page| {
            let items = page["items"].as_array().unwrap();
            items.len() == 8 && items.iter().all(|session| session["answers_commands"] == true)
        });
    }

    /// Kills the twin, as a crash does, and starts another at the same address, which the devices come back to.
    fn restart_with(self, more: &[&str]) -> Self {
        let Self { twin, load, folder, .. } = self;
        let again = format!("net.addr={}", twin.quic);
        drop(twin);
        let twin = Serve::start_with(folder.path(), &[&["--set", &again], more].concat());
        let client = Client::new(&twin.http.to_string(), None).unwrap();
        let operated = Self { twin, load, client, folder };
        operated.await_devices();
        operated
    }

    fn get(&self, path: &str) -> Value {
        self.client.get(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn await_answer(&self, path: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..LOOKS_MAX {
            let answer = self.get(path);
            if satisfied(&answer) {
                return answer;
            }
            std::thread::park_timeout(LOOK);
        }
        panic!("{path} never satisfied; now: {:#}", self.get(path));
    }

    fn device(&self, at: usize) -> String {
        self.get("/devices")["items"][at]["device"].as_str().unwrap().to_owned()
    }

    fn setpoint(&self, device: &str, value: f64) -> Result<Value, ClientError> {
        let path = format!("/devices/{device}/sensors/100/setpoint");
        self.client.post(&path, Some(&json!({ "value": value, "type": "temperature" })))
    }

    fn ctl(&self, args: &[&str]) -> Ended {
        let addr = self.twin.http.to_string();
        pollux(self.folder.path(), &[&["ctl", "--addr", &addr], args].concat())
    }

    /// Ends both and gives the summary of the load.
    fn end(self) -> Value {
        self.load.terminate();
        let load = self.load.end();
        let twin = self.twin.end();
        for tier in ["t1", "t2", "t3"] {
            assert_eq!(twin["tiers"][tier]["residual"], 0, "{tier}: {twin:#}");
        }
        load.json()
    }
}

fn unreachable_at(there: &str, refused: Result<Value, ClientError>) -> String {
    match refused {
        Err(ClientError::Unreachable { addr, reason }) if addr == there => reason,
        other => panic!("{other:?} was an answer"),
    }
}

fn detail(refused: Result<Value, ClientError>) -> (u16, String) {
    match refused {
        Err(ClientError::Problem { status, detail }) => (status.as_u16(), detail),
        other => panic!("{other:?} is no problem"),
    }
}

#[test]
fn lists_agree_with_each_other_and_with_single_things() {
    let operated = Operated::start();
    let devices = operated.get("/devices?limit=3");
    assert_eq!((devices["total"].as_u64(), devices["next"].as_u64()), (Some(8), Some(3)));
    let rest = operated.get("/devices?limit=1000&after=3");
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (5, &Value::Null));
    let device = operated.device(0);
    let whole = operated.get(&format!("/devices/{device}"));
    let types: Vec<_> = whole["sensors"].as_array().unwrap().iter().map(|s| &s["type"]).collect();
    assert_eq!(types, ["temperature", "humidity", "pressure", "voltage", "current"]);
    let volts = operated.get("/sensors?type=voltage");
    assert_eq!(volts["total"], 8);
    let one = operated.get(&format!("/devices/{device}/sensors/3"));
    assert_eq!((&one["type"], &one["unit"]), (&json!("voltage"), &json!("V")));
    let value = one["value"].as_f64().unwrap();
    assert!((200.0..260.0).contains(&value), "{one:#}");
    let young = one["age_s"].as_f64().unwrap();
    assert!((0.0..30.0).contains(&young), "{one:#}");
    assert_eq!(operated.get("/sessions?state=open")["total"], 8);
    assert_eq!(operated.get("/aggregates").as_array().unwrap().len(), 6);
    for (path, status) in [
        ("/devices/nobody", 404),
        ("/devices/00000000-0000-0000-0000-000000000000", 404),
        (&format!("/devices/{device}/sensors/70000"), 404),
        ("/sensors?limit=0", 400),
        ("/sensors?limit=x", 400),
        ("/sensors?unknown=1", 400),
        ("/sensors?type=colour", 400),
        ("/nothing", 404),
        ("/devices/%FF", 400),
        ("/commands/%FF", 400),
    ] {
        let (answered, said) = detail(operated.client.get(path));
        assert_eq!(answered, status, "{path}");
        // The client says the status alone where there is no problem in JSON.
        assert!(!said.starts_with(&status.to_string()), "{path}: {said}");
    }
    operated.end();
}

#[test]
fn a_setpoint_reaches_its_device_and_every_refusal_is_counted() {
    let operated = Operated::start();
    let device = operated.device(2);
    let done = operated.setpoint(&device, 21.5).unwrap();
    assert_eq!(
        (&done["state"], &done["holds"]),
        (&json!("acknowledged"), &json!(21.5)),
        "{done:#}"
    );
    assert!(done["took_ms"].as_f64().unwrap() > 0.0);
    let kept = operated.get(&format!("/commands/{}", done["id"]));
    assert_eq!(kept, done);
    let whole = operated.await_answer(&format!("/devices/{device}"), |whole| {
        whole["actuators"][0]["state"] == "acknowledged"
    });
    assert_eq!(whole["actuators"][0]["acknowledged"], 21.5);
    let hot = operated.setpoint(&device, 1000.0).unwrap();
    assert_eq!(hot["state"], "out_of_range", "{hot:#}");
    let refused = |reason: &str| {
        operated.twin.metric(&format!("pollux_requests_refused_total{{reason=\"{reason}\"}}"))
    };
    let nobody = operated.setpoint("00000000-0000-0000-0000-000000000000", 1.0);
    assert_eq!((detail(nobody).0, refused("unknown")), (404, 1.0));
    let sensor = format!("/devices/{device}/sensors/0/setpoint");
    let sensor = operated.client.post(&sensor, Some(&json!({ "value": 1 })));
    assert_eq!((detail(sensor).0, refused("unknown")), (409, 2.0));
    let path = format!("/devices/{device}/sensors/100/setpoint");
    let odd = operated.client.post(&path, Some(&json!({ "volume": 11 })));
    assert_eq!((detail(odd).0, refused("form")), (400, 1.0));
    let bare = operated.client.post(&path, None);
    assert_eq!((detail(bare).0, refused("form")), (415, 2.0));
    let long = operated.client.post(&path, Some(&json!({ "type": "x".repeat(5000) })));
    assert_eq!((detail(long).0, refused("form")), (413, 3.0));
    operated.end();
}

#[test]
fn a_stop_is_acknowledged_by_every_session_and_holds_until_it_is_cleared() {
    let operated = Operated::start();
    let device = operated.device(0);
    let asked = operated.client.post("/stop", None).unwrap();
    assert_eq!(asked["stopped"], true);
    let done = |stop: &Value| stop["acknowledged"] == 8 && stop["waiting"] == 0;
    let stop = operated.await_answer("/stop", done);
    assert_eq!((&stop["concerned"], &stop["refused"]), (&json!(8), &json!(0)), "{stop:#}");
    assert_eq!(operated.get("/overview")["health"], "stopped");
    assert_eq!(operated.twin.metric("pollux_stopped"), 1.0);
    assert_eq!(detail(operated.setpoint(&device, 20.0)).0, 409);
    let again = operated.client.post("/stop", None).unwrap();
    assert_eq!(again["request"], stop["request"], "a second press changes nothing");
    operated.client.post("/stop/clear", None).unwrap();
    operated.await_answer("/stop", |stop| stop["stopped"] == false && done(stop));
    let done = operated.setpoint(&device, 20.0).unwrap();
    assert_eq!(done["state"], "acknowledged", "{done:#}");
    operated.twin.await_metric("pollux_stop_seconds_count", 16.0);
    operated.end();
}

#[test]
fn a_stop_outlives_the_twin_until_an_operator_clears_it() {
    let keeps = ["--set", "automation.stop_file=stop", "--set", "net.idle_timeout_ms=1000"];
    let operated = Operated::start_with(&keeps);
    let device = operated.device(0);
    assert_eq!(operated.ctl(&["stop"]).code, Some(0));
    let file = operated.folder.path().join("stop");
    let kept = |stopped: bool| {
        let text = std::fs::read_to_string(&file).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["stopped"] == stopped
    };
    operated.await_answer("/stop", |_| kept(true));
    let operated = operated.restart_with(&keeps);
    let told = |stop: &Value| stop["acknowledged"] == 8 && stop["waiting"] == 0;
    let stop = operated.await_answer("/stop", told);
    assert_eq!((&stop["stopped"], &stop["by"]), (&json!(true), &json!("operator")), "{stop:#}");
    assert_eq!(detail(operated.setpoint(&device, 20.0)).0, 409);
    assert_eq!(operated.ctl(&["clear"]).code, Some(0));
    let done = operated.setpoint(&device, 20.0).unwrap();
    assert_eq!(done["state"], "acknowledged", "{done:#}");
    operated.await_answer("/stop", |_| kept(false));
    operated.load.terminate();
    operated.load.end();
    operated.twin.end();
}

#[test]
fn whichever_of_many_workers_has_the_only_session_it_is_shown_and_stopped() {
    let folder = plant();
    let set = ["--set", "net.workers=8", "--set", "net.max_sessions=1"];
    let twin = Serve::start_with(folder.path(), &set);
    let load = twin.simulate(&["--devices", "1", "--rate-hz", "20"]);
    twin.await_metric("pollux_sessions", 1.0);
    let client = Client::new(&twin.http.to_string(), None).unwrap();
    let answers = |page: &Value| page["items"][0]["answers_commands"] == true;
    let shown = (0..LOOKS_MAX).any(|_| {
        std::thread::park_timeout(LOOK);
        answers(&client.get("/sessions").unwrap())
    });
    assert!(shown, "{:#}", client.get("/sessions").unwrap());
    let stop =
        pollux(folder.path(), &["ctl", "--addr", &twin.http.to_string(), "stop", "-o", "json"]);
    let said: Value = serde_json::from_str(&stop.stdout).unwrap();
    assert_eq!((stop.code, &said["concerned"]), (Some(0), &json!(1)), "{said:#}");
    load.terminate();
    load.end();
    twin.end();
}

#[test]
fn the_shell_does_what_the_api_does() {
    let operated = Operated::start();
    let device = operated.device(1);
    let table = operated.ctl(&["devices", "--limit", "2"]).stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    for (args, line) in [
        (&["devices", "--limit", "2"][..], "2 of 8 (--limit up to 1000, --after 2 for more)\n"),
        (
            &["sensors", "--limit", "9", "--after", "9", "-o", "csv"],
            "9 of 40 (--limit up to 1000, --after 18 for more)\n",
        ),
        (&["sensors"], ""),
        (&["read", &device], ""),
    ] {
        assert_eq!(operated.ctl(args).stderr, line, "{args:?}");
    }
    assert!(
        table.starts_with("DEVICE ") && table.lines().all(|line| line.contains("  ")),
        "{table}"
    );
    let csv = operated.ctl(&["read", &device, "-o", "csv"]).stdout;
    assert_eq!(csv.lines().next(), Some("device,sensor,type,value,smoothed,unit,level,age_s"));
    assert_eq!(csv.lines().count(), 6, "{csv}");
    let set = operated.ctl(&["setpoint", &device, "100", "-12.5", "-o", "json"]);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let said: Value = serde_json::from_str(&set.stdout).unwrap();
    assert_eq!((&said["state"], &said["holds"]), (&json!("acknowledged"), &json!(-12.5)));
    let hot = operated.ctl(&["setpoint", &device, "100", "1000"]);
    assert_eq!(hot.code, Some(1), "not acknowledged is not done: {}", hot.stdout);
    let stop = operated.ctl(&["stop", "-o", "json"]);
    let said: Value = serde_json::from_str(&stop.stdout).unwrap();
    assert_eq!((stop.code, &said["acknowledged"]), (Some(0), &json!(8)), "{}", stop.stdout);
    let refused = operated.ctl(&["setpoint", &device, "100", "20"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.complaint().contains("stopped"), "{}", refused.stderr);
    assert_eq!(operated.ctl(&["clear"]).code, Some(0));
    let addr = operated.twin.http.to_string();
    let once = ["monitor", "--addr", &addr, "--once", "-o", "json"];
    let once = pollux(operated.folder.path(), &once);
    let look = once.json();
    assert_eq!(
        (&look["overview"]["sensors"], look["devices"].as_array().unwrap().len()),
        (&json!(40), 8)
    );
    let text = pollux(operated.folder.path(), &["monitor", "--addr", &addr, "--once"]).stdout;
    assert!(
        ["threads", "net-0", "busy", "backpressure"].iter().all(|word| text.contains(word)),
        "{text}"
    );
    operated.end();
}

#[test]
fn nobody_at_the_address_is_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["ctl", "--addr", "127.0.0.1:1", "stop"][..],
        &["monitor", "--addr", "127.0.0.1:1", "--once"],
    ] {
        let ended = pollux(folder.path(), args);
        assert_eq!(ended.code, Some(69), "{}", ended.stderr);
        assert!(ended.complaint().contains("no twin answers at 127.0.0.1:1"), "{}", ended.stderr);
    }
}

/// Numbers of a frame as `twin/src/http/field.rs` lays them out: flags, sensors, changed ones.
fn frame(message: &Message) -> (u32, u32, u32) {
    let Message::Binary(bytes) = message else { panic!("{message:?} is no frame") };
    assert_eq!(&bytes[..4], b"PXF1");
    let at = |offset: usize| u32::from_le_bytes(*bytes[offset..].first_chunk().unwrap());
    (at(4), at(28), at(40))
}

#[test]
fn viewers_get_a_whole_field_first_and_then_what_changed() {
    let operated = Operated::start();
    let addr = operated.twin.http;
    let (mut socket, _) = connect(format!("ws://{addr}/api/v1/field")).unwrap();
    assert_eq!(frame(&socket.read().unwrap()), (1, 40, 40));
    let changed: u32 = (0..30)
        .map(|_| {
            let (flags, sensors, changed) = frame(&socket.read().unwrap());
            assert_eq!((flags & 1, sensors), (0, 40), "what follows is a change");
            changed
        })
        .sum();
    // Forty sensors at 20 Hz over some thirty pictures of a thirtieth of a second; the bound leaves room for a slow machine.
    assert!((100..=1200).contains(&changed), "{changed}");
    let (mut glances, _) = connect(format!("ws://{addr}/api/v1/live")).unwrap();
    let glance: Value = serde_json::from_str(glances.read().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(glance["overview"]["viewers"], 2);
    assert_eq!(glance["aggregates"][1]["count"], 8);
    let mut foreign = format!("ws://{addr}/api/v1/field").into_client_request().unwrap();
    foreign.headers_mut().insert("origin", "http://elsewhere.example".parse().unwrap());
    assert!(connect(foreign).is_err(), "a page of another origin may not watch");
    let (status, page) = operated.twin.get("/");
    assert_eq!(status, 200);
    for name in page.split('"').filter(|part| part.starts_with('/') && part.ends_with(".js")) {
        assert_eq!(operated.twin.get(name).0, 200, "{name}");
    }
    operated.end();
}

#[test]
fn beyond_loopback_tls_and_a_token_are_demanded_and_asked_for() {
    let folder = plant();
    let sets = ["--set", "net.addr=127.0.0.1:0", "--set", "http.addr=0.0.0.0:0"];
    let tls = ["--set", "http.cert=certs/server.pem", "--set", "http.key=certs/server.key"];
    let token = folder.path().join("token");
    std::fs::write(&token, "short\n").unwrap();
    let with = ["--set", "http.token_file=token", "--set", "http.commands=stop"];
    for lacking in [&[][..], &tls, &with] {
        let open = pollux(folder.path(), &[&["serve"][..], &sets, lacking].concat());
        assert_eq!(open.code, Some(78), "{}", open.stderr);
        for key in ["http.addr", "http.cert", "http.token_file", "http.client_ca"] {
            assert!(open.stderr.contains(key), "{}", open.stderr);
        }
    }
    let args = [&["serve"][..], &sets, &tls, &with].concat();
    let short = pollux(folder.path(), &args);
    assert_eq!(short.code, Some(1), "{}", short.stderr);
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let mut twin = Running::start(folder.path(), &args);
    let http = twin.await_line("listening http ").replace("0.0.0.0", "127.0.0.1");
    let ca = folder.path().join("certs/ca.pem");
    let asked =
        |token: Option<&Path>| Client::new(&http, token).unwrap().over_tls(&ca, None).unwrap();
    let (status, said) = detail(asked(None).get("/overview"));
    assert_eq!(status, 401);
    assert!(said.ends_with("; none was sent, --token-file names the file that holds it"), "{said}");
    let other = folder.path().join("other");
    std::fs::write(&other, "fedcba9876543210\n").unwrap();
    let (status, said) = detail(asked(Some(&other)).get("/overview"));
    assert_eq!(status, 401);
    let named = format!("; that of --token-file {} is another", other.display());
    assert!(said.ends_with(&named), "{said}");
    assert_eq!(detail(asked(None).post("/stop", None)).0, 401);
    let plain = Client::new(&http, Some(&token)).unwrap().get("/overview");
    let said = unreachable_at(&http, plain);
    assert!(said.ends_with("; where it speaks TLS, give --ca"), "{said}");
    let strange = plant();
    let authority = strange.path().join("certs/ca.pem");
    let strange = Client::new(&http, None).unwrap().over_tls(&authority, None).unwrap();
    let said = unreachable_at(&http, strange.get("/overview"));
    assert!(said.ends_with(&format!(", by TLS with --ca {}", authority.display())), "{said}");
    let known = asked(Some(&token));
    assert_eq!(known.get("/overview").unwrap()["commands_allowed"], "stop");
    let path = "/devices/00000000-0000-0000-0000-000000000000/sensors/1/setpoint";
    assert_eq!(detail(known.post(path, Some(&json!({ "value": 1 })))).0, 403);
    assert_eq!(known.post("/stop", None).unwrap()["stopped"], true);
    assert_eq!(detail(known.post("/stop/clear", None)).0, 403, "who may stop may not clear");
    twin.terminate();
    assert_eq!(twin.end().code, Some(0));
}

/// The status of a GET with these lines in its head.
fn status(addr: std::net::SocketAddr, path: &str, lines: &[&str]) -> u16 {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    let lines = lines.join("\r\n");
    write!(stream, "GET {path} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn metrics_are_asked_for_like_the_plant_and_probes_are_not() {
    let folder = plant();
    std::fs::write(folder.path().join("token"), "0123456789abc/+=\n").unwrap();
    let twin = Serve::start_with(folder.path(), &["--set", "http.token_file=token"]);
    let of = |path, lines: &[&str]| status(twin.http, path, lines);
    let (here, token) = ("Host: localhost", "Authorization: Bearer 0123456789abc/+=");
    assert_eq!((of("/livez", &[here]), of("/metrics", &[here])), (200, 401));
    assert_eq!(of("/metrics", &[here, token]), 200);
    // A name of somebody else that points here, as a page would use it that wants to read what this machine sees.
    assert_eq!(of("/metrics", &["Host: elsewhere.example", token]), 403);
    twin.end();
}

#[test]
fn a_token_of_whatever_characters_opens_a_stream() {
    let folder = plant();
    std::fs::write(folder.path().join("token"), "0123456789abc/+=\n").unwrap();
    let twin = Serve::start_with(folder.path(), &["--set", "http.token_file=token"]);
    let watched = |protocols: &str| {
        let mut asked = format!("ws://{}/api/v1/field", twin.http).into_client_request().unwrap();
        asked.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        connect(asked)
    };
    let (mut socket, _) =
        watched("pollux, pollux.bearer.303132333435363738396162632f2b3d").unwrap();
    assert_eq!(frame(&socket.read().unwrap()).0, 1, "a whole frame comes first");
    assert!(watched("pollux, pollux.bearer.30").is_err());
    assert!(watched("pollux").is_err());
    drop(socket);
    twin.end();
}

#[test]
fn a_certificate_serves_where_there_is_no_token() {
    let folder = plant();
    let made = ["certs", "init", "--dir", "operators", "--gateway", "ana"];
    assert_eq!(pollux(folder.path(), &made).code, Some(0));
    let mut args = vec!["serve"];
    for set in [
        "net.addr=127.0.0.1:0",
        "http.addr=0.0.0.0:0",
        "http.cert=certs/server.pem",
        "http.key=certs/server.key",
        "http.client_ca=operators/ca.pem",
    ] {
        args.extend(["--set", set]);
    }
    let mut twin = Running::start(folder.path(), &args);
    let http = twin.await_line("listening http ").replace("0.0.0.0", "127.0.0.1");
    let of = |name: &str| folder.path().join("certs").join(name);
    let ca = of("ca.pem");
    let operator = |end: &str| folder.path().join("operators/gateway-ana").with_extension(end);
    let (cert, key) = (operator("pem"), operator("key"));
    let asked = |identity| Client::new(&http, None).unwrap().over_tls(&ca, identity).unwrap();
    let stranger = asked(None).get("/overview");
    assert!(matches!(stranger, Err(ClientError::Unreachable { .. })), "{stranger:?}");
    let of_device = (of("gateway-plant.pem"), of("gateway-plant.key"));
    let device = asked(Some((&of_device.0, &of_device.1)));
    assert!(matches!(device.get("/overview"), Err(ClientError::Unreachable { .. })));
    let known = asked(Some((&cert, &key)));
    assert_eq!(known.get("/overview").unwrap()["commands_allowed"], "all");
    let args =
        ["ctl", "--addr", &http, "--ca", "certs/ca.pem", "--cert", "operators/gateway-ana.pem"];
    let args = [&args[..], &["--key", "operators/gateway-ana.key", "stop", "-o", "json"]].concat();
    let stopped = pollux(folder.path(), &args);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    twin.terminate();
    assert_eq!(twin.end().code, Some(0));
}

#[test]
fn whoever_says_nothing_keeps_nobody_out() {
    let operated = Operated::start();
    let addr = operated.twin.http;
    // More than the door has places for, and all of them are held while others ask.
    let idle: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    assert_eq!(operated.twin.get("/livez").0, 200);
    assert_eq!(operated.client.post("/stop", None).unwrap()["stopped"], true);
    let gave_way = operated.twin.metric("pollux_requests_refused_total{reason=\"connections\"}");
    assert!(gave_way > 0.0, "the oldest gave way");
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        // It is closed, for another one or for its silence, and never answered.
        drop(stream.read_to_end(&mut answer));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    }
    operated.end();
}
