//! The built binary as a user drives it: help, results, and exit codes.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::path::Path;
use std::process::{Command, Output};

use clap::{Args, CommandFactory};
use twin::args::{
    Batch, Cli, DemoArgs, FramesPerPacket, Profile, Rate, Sampling, ServeArgs, SimulateArgs,
};

/// Runs the binary in a folder, with an environment that holds no key.
fn pollux(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().unwrap()
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollux"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POLLUX_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(args);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_of_every_command_has_examples_and_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let certs = ["init", "enroll", "rotate", "revoke", "show", "token"].map(|name| ["certs", name]);
    let config = ["init", "check", "show"].map(|name| ["config", name]);
    let commands = certs.iter().chain(&config);
    for command in commands {
        let output = pollux(folder.path(), &[&command[..], &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let example = format!("pollux {}", command.join(" "));
        let help = text(&output.stdout);
        assert!(help.contains("Examples:") && help.contains(&example), "{help}");
    }
    let output = pollux(folder.path(), &["--help"]);
    assert!(text(&output.stdout).contains("78 wrong configuration"));
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let silent = "simulate --addr 127.0.0.1:1 --ca none.pem --rate-hz 0 --t2-rate-hz 0";
    let silent: Vec<&str> = silent.split(' ').collect();
    let usages: [&[&str]; 9] = [
        &silent,
        &[],
        &["fly"],
        &["certs", "init", "--device", "seven"],
        &["certs", "init", "--name", "a b"],
        &["certs", "init", "--gateway", "Ä"],
        &["certs", "enroll", "--gateway", "a", "--prefix", "0x"],
        &["certs", "revoke", "--serial", "1"],
        &["config", "show", "--sett", "a=b"],
    ];
    for args in usages {
        let output = pollux(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_twin_without_its_certificates_names_key_path_and_what_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |args: &[&str]| {
        let output = pollux(folder.path(), &[&["serve", "--duration-s", "1"][..], args].concat());
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (code, said) = serve(&[]);
    assert_eq!(code, Some(78), "{said}");
    for (key, file) in [("cert", "server.pem"), ("key", "server.key"), ("ca", "ca.pem")] {
        let line = format!(
            "tls.{key} = \"certs/{file}\" (from default): does not exist; `pollux certs init` makes one"
        );
        assert!(said.contains(&line), "{line} in {said}");
    }
    let (code, said) = serve(&["--set", "tls.client_auth=off"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(!said.contains("tls.ca "), "nobody is asked for a certificate: {said}");
    pollux(folder.path(), &["certs", "init"]);
    let (code, said) = serve(&["--set", "tls.key=other.key"]);
    assert_eq!((code, said.matches("does not exist").count()), (Some(78), 1), "{said}");
    assert!(said.contains("tls.key = \"other.key\" (from --set)"), "{said}");
}

#[test]
fn a_client_names_the_argument_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| {
        let output = pollux(folder.path(), args);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    for (args, part) in [
        (&["ctl", "--addr", "foo", "devices"][..], "must be HOST:PORT, such as 127.0.0.1:9100"),
        (&["monitor", "--addr", "http://foo"], "must be HOST:PORT"),
        (&["ctl", "sensors", "--level", "hgih"], "normal, high, low"),
        (&["ctl", "setpoint", &"0".repeat(32), "1", "2", "--type", "colour"], "temperature"),
    ] {
        let (code, said) = said(args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{part} in {said}");
    }
    for addr in ["127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1/", "https://127.0.0.1:1"]
    {
        let (code, said) = said(&["ctl", "--addr", addr, "devices"]);
        assert_eq!(code, Some(69), "{addr}: {said}");
        assert!(said.contains("no twin answers at 127.0.0.1:1: "), "{addr}: {said}");
    }
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let missing = "No such file or directory (os error 2)";
    for (args, line) in [
        (&["--token-file", "nosuch"][..], format!("--token-file nosuch: {missing}")),
        (&["--token-file", "empty"], "--token-file empty: its first line is no token".to_owned()),
        (
            &["--ca", "none.pem"],
            format!("--ca none.pem: no usable certificate: I/O error: {missing}"),
        ),
    ] {
        let (code, said) = said(&[&["ctl", "devices"], args].concat());
        assert_eq!((code, said), (Some(1), format!("pollux: {line}\n")), "{args:?}");
    }
    let (code, said) = said(&["monitor"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("needs a terminal") && said.contains("monitor --once"), "{said}");
}

#[test]
fn wrong_configuration_ends_with_78_and_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["init", "check", "show"] {
        let output = pollux(folder.path(), &["config", command, "--set", "tick.hertz=5"]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = text(&output.stderr);
        for part in ["tick.hertz", "\"5\"", "--set", "did you mean tick.hz?", "hz, core"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}

#[test]
fn environment_lies_between_file_and_set() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "tick.hz = 10\nnet.max_sessions = 11\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pollux"))
        .current_dir(folder.path())
        .args(["config", "show", "--set", "ring.out=128"])
        .env("POLLUX_CONFIG", "a.toml")
        .env("POLLUX_TICK__HZ", "20")
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    let line = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("tick.hz"), "tick.hz = 20 # POLLUX_TICK__HZ");
    assert_eq!(line("net.max_sessions"), "net.max_sessions = 11 # a.toml:2");
    assert_eq!(line("ring.out"), "ring.out = 128 # --set");
    assert_eq!(line("log.level"), "log.level = \"info\" # default");
}

#[test]
fn written_configuration_checks_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let init = ["config", "init", "--config", "pollux.toml", "--set", "tick.hz=500"];
    assert_eq!(pollux(folder.path(), &init).status.code(), Some(0));
    let check = pollux(folder.path(), &["config", "check", "--config", "pollux.toml"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).starts_with("the configuration is right: "));
    let show = pollux(folder.path(), &["config", "show", "--config", "pollux.toml"]);
    assert!(text(&show.stdout).contains("tick.hz = 500 "));
    let again = pollux(folder.path(), &init);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("pollux.toml: cannot be written"));
}

#[test]
fn certificates_are_made_once_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let device = "6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10";
    let args = ["certs", "init", "--dir", "pki", "--name", "twin.local", "--device", device];
    let output = pollux(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let files: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(files.len(), 7);
    for file in ["ca.pem", "ca.key", "crl.pem", "server.pem", "server.key"] {
        assert!(files.contains(&format!("pki/{file}").as_str()), "{files:?}");
        assert!(folder.path().join("pki").join(file).exists());
    }
    assert!(text(&output.stderr).contains("3650 days"));
    let again = pollux(folder.path(), &["certs", "init", "--dir", "pki"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("pki/ca.pem exists"));
}

/// Parses the arguments of one command as the binary would below its name.
fn parsed<A: Args>(args: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("pollux").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(args)?)
}

#[test]
fn simulate_reads_every_argument_of_its_manual() {
    let plain = ["--addr", "twin:4433", "--ca", "ca.pem"];
    let args: SimulateArgs = parsed(&plain).unwrap();
    assert_eq!((args.devices, args.sessions, args.profile), (200, None, Profile::Industrial));
    assert_eq!((args.rate_hz, args.batch, args.seed), (Rate::Hz(20.0), Batch::Auto, 1));
    assert_eq!((args.frames_per_packet, args.linger_us), (FramesPerPacket::Auto, 0));
    assert_eq!(args.sampling, Sampling::Cyclic);

    let more = "\
        --devices 10000 --sessions 1 --profile single --rate-hz max --t2-rate-hz 0.5 \
        --t3-rate-hz 2 --count 7 --sampling random --duration-s 9 --batch 36 \
        --frames-per-packet 1 --linger-us 50 --seed 3 --report r --cert plant.pem --key \
        plant.key --mtu 8952 --server-name hall-3 --stock-congestion --verbose -o json";
    let more: Vec<&str> = more.split_whitespace().collect();
    let args: SimulateArgs = parsed(&[&plain[..], &more[..]].concat()).unwrap();
    assert_eq!((args.devices, args.sessions, args.profile), (10_000, Some(1), Profile::Single));
    assert_eq!((args.rate_hz, args.t2_rate_hz, args.t3_rate_hz), (Rate::Max, 0.5, 2.0));
    assert_eq!((args.batch, args.frames_per_packet), (Batch::Records(36), FramesPerPacket::One));
    assert_eq!((args.count, args.linger_us, args.seed), (Some(7), 50, 3));
    assert_eq!((args.sampling, args.mtu), (Sampling::Random, 8952));
    let files = (Some(args.ca), args.cert, args.key);
    assert_eq!(files, (Some("ca.pem".into()), Some("plant.pem".into()), Some("plant.key".into())));
    assert_eq!((args.addr.as_str(), args.server_name.as_deref()), ("twin:4433", Some("hall-3")));
    assert_eq!((args.stock_congestion, args.verbose), (true, true));
    assert_eq!((args.report.duration_s, args.report.output), (Some(9), twin::args::Output::Json));

    for (name, value) in [
        ("--rate-hz", "-1"),
        ("--rate-hz", "often"),
        ("--rate-hz", "NaN"),
        ("--batch", "0"),
        ("--batch", "1681"),
        ("--frames-per-packet", "2"),
        ("--devices", "0"),
        ("--t2-rate-hz", "inf"),
        ("--profile", "plant"),
        ("--sampling", "sorted"),
    ] {
        let wrong = format!("{name}={value}");
        assert!(parsed::<SimulateArgs>(&[&plain[..], &[&wrong]].concat()).is_err(), "{wrong}");
    }
    assert!(parsed::<SimulateArgs>(&plain[..2]).is_err(), "--ca is missing");
}

#[test]
fn serve_and_demo_read_every_argument_of_their_manual() {
    let args: ServeArgs = parsed(&[
        "--config",
        "a.toml",
        "--set",
        "tick.hz=5",
        "--set",
        "net.core=1",
        "--report",
        "r",
        "--duration-s",
        "3",
        "-o",
        "text",
    ])
    .unwrap();
    assert_eq!(args.layers.set, ["tick.hz=5", "net.core=1"]);
    assert_eq!(args.layers.config.as_deref(), Some(Path::new("a.toml")));
    assert_eq!(args.report.report.as_deref(), Some(Path::new("r")));
    assert_eq!(args.report.duration_s, Some(3));

    let args: DemoArgs = parsed(&[]).unwrap();
    assert_eq!((args.devices, args.duration_s), (200, None));
    let args: DemoArgs = parsed(&["--devices", "5", "--duration-s", "2"]).unwrap();
    assert_eq!((args.devices, args.duration_s), (5, Some(2)));
    assert!(parsed::<DemoArgs>(&["--duration-s", "0"]).is_err());
}

#[test]
fn help_of_the_long_running_commands_has_examples() {
    let helps = [
        ("pollux serve", help::<ServeArgs>()),
        ("pollux demo", help::<DemoArgs>()),
        ("pollux simulate", help::<SimulateArgs>()),
    ];
    for (example, help) in helps {
        assert!(help.contains("Examples:") && help.contains(example), "{help}");
    }
}

fn help<A: Args>() -> String {
    A::augment_args(clap::Command::new("pollux")).render_long_help().to_string()
}

#[test]
fn an_address_of_a_load_without_host_or_port_is_wrong_usage_and_an_unknown_name_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let simulate = |addr: &str| {
        let output = pollux(folder.path(), &["simulate", "--addr", addr, "--ca", "ca.pem"]);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    for addr in ["127.0.0.1", "twin", ":4433", "twin:", "twin:70000", "[::1]", "fe80::1:4433", ""] {
        let (code, said) = simulate(addr);
        assert_eq!(code, Some(2), "{addr}: {said}");
        assert!(said.contains("must be HOST:PORT, such as"), "{addr}: {said}");
    }
    // No name is so long, so that nobody is asked for it.
    let unknown = format!("{}:4433", "n".repeat(64));
    let (code, said) = simulate(&unknown);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with(&format!("pollux: --addr {unknown}: ")), "{said}");
}

#[test]
fn a_pipe_that_nobody_reads_changes_no_code_and_is_no_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = ["config", "check", "--set", "tick.hertz=5"];
    let cases: [(&[&str], i32); 6] = [
        (&["config", "show"], 0),
        (&["config", "init"], 0),
        (&["certs", "init"], 0),
        (&["certs", "show"], 0),
        (&["doctor", "--root", "nothing"], 0),
        (&wrong, 78),
    ];
    for (args, code) in cases {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let also = writer.try_clone().unwrap();
        let status = command(folder.path(), args).stdout(writer).stderr(also).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(folder.path(), &["config", "show"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("pollux: stdout: ") && said.lines().count() == 1, "{said}");
}

/// The names of all commands, each with those above it.
fn commands_below(command: &clap::Command, above: &[String]) -> Vec<Vec<String>> {
    let below = command.get_subcommands().flat_map(|below| {
        let name = [above, &[below.get_name().to_owned()]].concat();
        let further = commands_below(below, &name);
        std::iter::once(name).chain(further)
    });
    below.collect()
}

#[test]
fn no_line_of_any_help_is_longer_than_100_columns() {
    let folder = tempfile::tempdir().unwrap();
    let mut commands = commands_below(&Cli::command(), &[]);
    assert!(commands.len() > 25, "{commands:?}");
    commands.push(Vec::new());
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let output = pollux(folder.path(), &words);
        let long = text(&output.stdout).lines().find(|line| line.chars().count() > 100);
        assert_eq!((output.status.code(), long), (Some(0), None), "{words:?}");
    }
}

#[test]
fn completions_of_every_shell_know_commands_and_arguments() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = pollux(folder.path(), &["completions", shell]);
        let script = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        for word in ["simulate", "enroll", "rate-hz"] {
            assert!(script.contains(word), "{word} in {script}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page_with_its_examples() {
    let folder = tempfile::tempdir().unwrap();
    let output = pollux(folder.path(), &["manual", "--dir", "share/man1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = |name: &str| {
        let path = folder.path().join("share/man1").join(format!("{name}.1"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert!(page("pollux").contains("78 wrong configuration"));
    for command in commands_below(&Cli::command(), &["pollux".to_owned()]) {
        assert!(page(&command.join("-")).starts_with(".ie"), "{command:?}");
    }
    for (name, example) in [
        ("pollux-serve", "pollux serve \\-\\-config pollux.toml"),
        ("pollux-certs-enroll", "pollux certs enroll \\-\\-device"),
    ] {
        let page = page(name);
        assert!(page.contains(example), "{example} in {page}");
    }
    let taken = pollux(folder.path(), &["manual", "--dir", "share/man1/pollux.1"]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(text(&taken.stderr).contains("--dir share/man1/pollux.1: "), "{}", text(&taken.stderr));
}
