//! The configuration as an operator meets it: layers, places, and what every mistake says.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use twin::args::Cli;
use twin::config::{Config, Effective, IdleStrategy, Layers, LogLevel, Rule};

fn layers(file: Option<&Path>, environment: &[(&str, &str)], set: &[&str]) -> Layers {
    Layers {
        file: file.map(PathBuf::from),
        environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pollux.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// The lines of a refusal without their heading and their indent.
fn refused(layers: &Layers) -> Vec<String> {
    let text = Effective::load(layers).expect_err("a refusal").to_string();
    text.lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

/// The variables that stand in for options of a command or of one below it.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|option| option.get_env());
    let own = own.map(|name| name.to_str().unwrap().to_owned());
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

fn defaults() -> Config {
    Effective::load(&Layers::default()).unwrap().config().clone()
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = defaults();
    assert_eq!(config.net.addr, "0.0.0.0:4433".parse().unwrap());
    assert_eq!(config.net.core, None);
    assert_eq!(config.net.max_sessions, 1024);
    assert_eq!(config.net.recv_buffer_bytes, 4 << 20);
    assert_eq!(config.net.mtu_bytes, 1452);
    assert_eq!(config.net.idle_timeout_ms, 10_000);
    assert_eq!((config.net.max_uni_streams, config.net.max_bi_streams), (16, 64));
    assert_eq!(config.net.keys_per_session, 65_536);
    assert_eq!(config.tick.hz, 1000);
    assert_eq!(config.idle.strategy, IdleStrategy::Auto);
    assert_eq!(config.ring.tiers, [131_072, 16_384, 4096]);
    assert_eq!(config.ring.out, 4096);
    assert_eq!(config.world.entities_max, 1_048_576);
    assert_eq!(config.http.addr, "127.0.0.1:9100".parse().unwrap());
    assert!(config.http.enabled);
    assert_eq!(config.tls.cert, Path::new("certs/server.pem"));
    assert_eq!(config.thresholds[1].high, 80.0);
    assert_eq!(config.thresholds[0].high, f64::INFINITY);
    assert!(config.automation.rules.is_empty());
    assert_eq!((config.fault.loss, config.fault.delay_ticks), (0.0, 0));
    assert_eq!(config.log.level, LogLevel::Info);
}

#[test]
fn each_layer_covers_the_one_below() {
    let (_folder, path) = written("[tick]\nhz = 100\ndrain_t1 = 10\n[net]\nmax_sessions = 5\n");
    let environment =
        [("POLLUX_TICK__HZ", "200"), ("POLLUX_NET__MAX_SESSIONS", "6"), ("HOME", "/")];
    let effective = Effective::load(&layers(Some(&path), &environment, &["tick.hz=300"])).unwrap();
    let config = effective.config();
    assert_eq!((config.tick.hz, config.net.max_sessions, config.tick.drain[0]), (300, 6, 10));

    let shown = effective.show();
    let place = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        line.split_once("  # ").unwrap().1.trim().to_owned()
    };
    assert_eq!(place("tick.hz"), "--set");
    assert_eq!(place("net.max_sessions"), "POLLUX_NET__MAX_SESSIONS");
    assert_eq!(place("tick.drain_t1"), format!("{}:3", path.display()));
    assert_eq!(place("http.addr"), "default");
    assert_eq!(effective.counts().1, 3);
}

#[test]
fn the_last_set_of_a_key_counts() {
    let effective = Effective::load(&layers(None, &[], &["tick.hz=1", "tick.hz = 2"])).unwrap();
    assert_eq!(effective.config().tick.hz, 2);
}

#[test]
fn every_kind_of_value_is_read_from_text() {
    let set = [
        "net.core=3",
        "net.addr=[::1]:0",
        "net.recv_buffer_bytes=8_388_608",
        "http.enabled=false",
        "idle.strategy=backoff",
        "tls.cert=/etc/pollux/a b.pem",
        "thresholds.current.high=-inf",
        "thresholds.current.low=-1e3",
        "fault.loss=0.05",
        "log.level=trace",
    ];
    let wrong = refused(&layers(None, &[], &set));
    assert_eq!(wrong.len(), 1, "only the inverted threshold is wrong: {wrong:?}");

    let mut right = set.to_vec();
    right[6] = "thresholds.current.high=12";
    let effective = Effective::load(&layers(None, &[], &right)).unwrap();
    let config = effective.config();
    assert_eq!(config.net.core, Some(3));
    assert_eq!(config.net.addr, "[::1]:0".parse().unwrap());
    assert_eq!(config.net.recv_buffer_bytes, 8 << 20);
    assert!(!config.http.enabled);
    assert_eq!(config.idle.strategy, IdleStrategy::Backoff);
    assert_eq!(config.idle.strategy.name(), "backoff");
    assert_eq!(config.tls.cert, Path::new("/etc/pollux/a b.pem"));
    assert_eq!((config.thresholds[5].low, config.thresholds[5].high), (-1000.0, 12.0));
    assert_eq!(config.fault.loss, 0.05);
    assert_eq!(config.log.level, LogLevel::Trace);
}

#[test]
fn none_takes_a_core_back() {
    let (_folder, path) = written("net.core = 2\ntick.core = 1\n");
    let effective = Effective::load(&layers(Some(&path), &[], &["net.core=none"])).unwrap();
    assert_eq!(effective.config().net.core, None);
    assert_eq!(effective.config().tick.core, Some(1));
}

#[test]
fn rules_are_read_from_a_file_and_from_the_command_line() {
    let rule = Rule { sensor_type: 1, above: 70.0, setpoint: 20.0 };
    let (_folder, path) = written(
        "[[automation.rules]]\nsensor_type = \"temperature\"\nabove = 70\nsetpoint = 20.0\n",
    );
    let from_file = Effective::load(&layers(Some(&path), &[], &[])).unwrap();
    assert_eq!(from_file.config().automation.rules, [rule]);

    let text = r#"automation.rules=[{ sensor_type = "temperature", above = 70, setpoint = 20 }]"#;
    let from_text = Effective::load(&layers(None, &[], &[text])).unwrap();
    assert_eq!(from_text.config().automation.rules, [rule]);

    let missing = r#"automation.rules=[{ sensor_type = "temperature", above = 70 }]"#;
    let said = refused(&layers(None, &[], &[missing]));
    assert!(said[0].contains("{ sensor_type, above, setpoint }"), "{said:?}");
    assert!(said[0].contains("temperature, humidity, pressure"), "{said:?}");
}

#[test]
fn unknown_key_names_place_value_neighbours_and_the_nearest_key() {
    let (_folder, path) = written("[net]\n\nadr = \"1.2.3.4:5\"\n");
    assert_eq!(
        refused(&layers(Some(&path), &[], &[])),
        [format!(
            "net.adr = \"1.2.3.4:5\" (from {}:3): no such key; did you mean net.addr?; [net] holds \
             addr, core, workers, max_sessions, max_handshakes, retry_from, accept_rate, max_streams, \
             recv_buffer_bytes, send_buffer_bytes, mtu_bytes, \
             congestion, key_update_s, path_log, path_log_max_bytes, idle_timeout_ms, keep_alive_ms, \
             max_uni_streams, max_bi_streams, \
             stream_window_bytes, \
             datagram_buffer_bytes, keys_per_session",
            path.display()
        )]
    );
    let said = refused(&layers(None, &[("POLLUX_TICK__HERTZ", "1")], &["quux=1", "ring=7"]));
    assert_eq!(
        said,
        [
            "tick.hertz = \"1\" (from POLLUX_TICK__HERTZ): no such key; did you mean tick.hz?; [tick] \
             holds hz, core, catch_up, outlier_us, drain_t1, drain_t2, drain_t3"
                .to_owned(),
            "quux = \"1\" (from --set): no such key; the sections are net, address, tick, idle, host, ring, world, \
             http, tls, thresholds, automation, fault, capture, log"
                .to_owned(),
            "ring = \"7\" (from --set): no such key; [ring] holds t1, t2, t3, out".to_owned(),
        ]
    );
}

#[test]
fn unknown_sensor_type_is_an_unknown_key() {
    let said = refused(&layers(None, &[], &["thresholds.speed.high=1"]));
    assert!(said[0].contains("no such key"), "{said:?}");
    assert!(said[0].contains("the sections are"), "{said:?}");
}

#[test]
fn wrong_value_names_what_is_allowed() {
    let cases = [
        ("tick.hz=0", "tick.hz = 0 (from --set): must be a whole number from 1 to 20000"),
        ("tick.hz=fast", "tick.hz = \"fast\" (from --set): must be a whole number from 1 to 20000"),
        ("tick.hz=-1", "tick.hz = -1 (from --set): must be a whole number from 1 to 20000"),
        ("tick.hz=1.5", "tick.hz = \"1.5\" (from --set): must be a whole number from 1 to 20000"),
        ("ring.t1=1000", "ring.t1 = 1000 (from --set): must be a power of two from 64 to 67108864"),
        ("ring.t1=32", "ring.t1 = 32 (from --set): must be a power of two from 64 to 67108864"),
        (
            "net.core=first",
            "net.core = \"first\" (from --set): must be the number of a core, or \"none\"",
        ),
        (
            "net.mtu_bytes=1199",
            "net.mtu_bytes = 1199 (from --set): must be a whole number from 1200 to 65527",
        ),
        (
            "net.addr=localhost:1",
            "net.addr = \"localhost:1\" (from --set): must be IP:PORT, for example 0.0.0.0:4433 or [::]:4433",
        ),
        ("http.enabled=yes", "http.enabled = \"yes\" (from --set): must be true or false"),
        ("fault.loss=1.5", "fault.loss = 1.5 (from --set): must be a number from 0 to 1"),
        ("fault.loss=NaN", "fault.loss = nan (from --set): must be a number from 0 to 1"),
        (
            "idle.strategy=nap",
            "idle.strategy = \"nap\" (from --set): must be one of auto, spin, yield, backoff, wait",
        ),
        ("tls.key=", "tls.key = \"\" (from --set): must be the path of a file"),
        (
            "thresholds.voltage.hysteresis=-1",
            "thresholds.voltage.hysteresis = -1.0 (from --set): must be a number, at least 0",
        ),
        (
            "thresholds.voltage.high=hot",
            "thresholds.voltage.high = \"hot\" (from --set): must be a number, inf or -inf",
        ),
    ];
    for (set, said) in cases {
        assert_eq!(refused(&layers(None, &[], &[set])), [said]);
    }
}

#[test]
fn values_of_the_wrong_toml_type_are_refused() {
    let (_folder, path) =
        written("tick.hz = \"1000\"\nhttp.enabled = 1\nnet.addr = 4433\n[tick.core]\ndeep = 1\n");
    let said = refused(&layers(Some(&path), &[], &[]));
    assert_eq!(said.len(), 4, "{said:?}");
    let line = |line: usize| format!("(from {}:{line})", path.display());
    for (key, place) in [("tick.hz", 1), ("http.enabled", 2), ("net.addr", 3), ("tick.core", 4)] {
        let found = said.iter().any(|text| text.starts_with(key) && text.contains(&line(place)));
        assert!(found, "{key} at line {place}: {said:?}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    assert_eq!(
        refused(&layers(None, &[], &["net.keep_alive_ms=10000"])),
        [
            "net.keep_alive_ms = 10000 (from --set): must be below net.idle_timeout_ms, which is 10000"
        ]
    );
    assert_eq!(
        refused(&layers(None, &[], &["thresholds.pressure.low=600"])),
        [
            "thresholds.pressure.low = 600.0 (from --set): must be below thresholds.pressure.high, which is 600"
        ]
    );
    assert_eq!(
        refused(&layers(None, &[], &["thresholds.humidity.hysteresis=80"])),
        [
            "thresholds.humidity.hysteresis = 80.0 (from --set): must be below the distance from low to high, 80"
        ]
    );
}

#[test]
fn a_tick_on_the_core_of_a_worker_that_never_sleeps_is_refused() {
    fn set<'a>(tick: &'a str, strategy: &'a str) -> [&'a str; 4] {
        ["net.core=2", "net.workers=2", tick, strategy]
    }
    for strategy in ["spin", "yield"] {
        let chosen = format!("idle.strategy={strategy}");
        let said = format!(
            "tick.core = 3 (from --set): must be none, or no core of a worker, which have 2 to 3, as long as \
             idle.strategy is {strategy}"
        );
        assert_eq!(refused(&layers(None, &[], &set("tick.core=3", &chosen))), [said]);
    }
    for strategy in ["idle.strategy=auto", "idle.strategy=wait", "idle.strategy=backoff"] {
        Effective::load(&layers(None, &[], &set("tick.core=3", strategy))).unwrap();
    }
    for tick in ["tick.core=1", "tick.core=4", "tick.core=none"] {
        Effective::load(&layers(None, &[], &set(tick, "idle.strategy=spin"))).unwrap();
    }
}

#[test]
fn sessions_beyond_the_places_of_all_workers_are_refused() {
    assert_eq!(
        refused(&layers(None, &[], &["net.workers=3", "net.max_sessions=1048576"])),
        [
            "net.max_sessions = 1048576 (from --set): must be at most 1048575, as long as net.workers is 3"
        ]
    );
    for (workers, sessions) in [("1", "1048576"), ("3", "1048575"), ("16", "1048576")] {
        let set = [format!("net.workers={workers}"), format!("net.max_sessions={sessions}")];
        let effective = Effective::load(&layers(None, &[], &set.each_ref().map(String::as_str)));
        let places = effective.unwrap().config().net.session_places();
        assert_eq!(places.to_string(), sessions, "{workers} workers");
    }
}

#[test]
fn a_worker_has_as_many_places_as_any_other() {
    let set = ["net.workers=3", "net.max_sessions=4"];
    let net = Effective::load(&layers(None, &[], &set)).unwrap().config().net.clone();
    assert_eq!((net.sessions_per_worker(), net.session_places()), (2, 6));
}

#[test]
fn all_mistakes_are_named_at_once_and_a_covered_one_too() {
    let (_folder, path) = written("tick.hz = 0\nnet.nothing = 1\n");
    let said = refused(&layers(Some(&path), &[], &["tick.hz=1", "noassignment"]));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said.contains(
            &"--set noassignment: must be key=value, for example --set tick.hz=500".into()
        )
    );
}

#[test]
fn broken_and_missing_files_name_themselves() {
    let (_folder, path) = written("[net]\naddr = \n");
    let said = refused(&layers(Some(&path), &[], &[]));
    assert!(said[0].starts_with(&format!("{}:2: not TOML: ", path.display())), "{said:?}");

    let missing = refused(&layers(Some(Path::new("/nonexistent/pollux.toml")), &[], &[]));
    assert!(missing[0].starts_with("/nonexistent/pollux.toml: cannot be read: "), "{missing:?}");
}

#[test]
fn printed_file_parses_back_to_the_values_it_was_printed_from() {
    let set = [
        "net.core=1",
        "tls.key=/a \"quoted\"\\path",
        "thresholds.voltage.low=-inf",
        r#"automation.rules=[{ sensor_type = "current", above = 1, setpoint = 2.5 }]"#,
    ];
    for set in [&[][..], &set[..]] {
        let effective = Effective::load(&layers(None, &[], set)).unwrap();
        let (_folder, path) = written(&effective.to_toml());
        let again = Effective::load(&layers(Some(&path), &[], &[])).unwrap();
        assert_eq!(again.config(), effective.config());
        let (keys, from_file) = again.counts();
        assert_eq!(keys, from_file, "every key stands in the file");
    }
}

#[test]
fn printed_file_matches_the_golden_one() {
    let text = Effective::load(&Layers::default()).unwrap().to_toml();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pollux.toml");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap());
    let widest = text.lines().map(str::len).max().unwrap();
    assert!(widest <= 100, "a line of {widest} columns");
}

#[test]
fn a_variable_that_stands_in_for_an_option_is_no_key() {
    let variables = variables(&Cli::command());
    for known in ["POLLUX_CONFIG", "POLLUX_ADDR", "POLLUX_TOKEN_FILE", "POLLUX_CA"] {
        assert!(variables.iter().any(|name| name == known), "{known} in {variables:?}");
    }
    let environment: Vec<_> = variables.iter().map(|name| (&**name, "x")).collect();
    let effective = Effective::load(&layers(None, &environment, &[])).unwrap();
    assert_eq!(effective.counts().1, 0, "nothing is set");
    // What looks like one and is none is still named.
    assert_eq!(refused(&layers(None, &[("POLLUX_ADR", "x")], &[])).len(), 1);
}
