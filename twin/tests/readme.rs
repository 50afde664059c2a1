//! The commands that the pages promise: each `pollux` line of README.md and deploy/ is one that the binary accepts.
//!
//! Lines come from the fenced `sh` blocks and from `ExecStart` of the unit. They are parsed, not run. Scripts that a page
//! names must exist. A line in a form that this test does not understand is a failure, not a line to be passed over.

use std::path::{Path, PathBuf};

use clap::Parser;
use twin::args::Cli;

/// How a page may call the binary.
const CALLS: [&str; 3] = ["cargo run --release -- ", "target/release/pollux ", "pollux "];
/// What may stand before a command.
const PREFIXES: [&str; 2] = ["sudo ", "sudo -u pollux "];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The commands of the fenced `sh` blocks: continued lines joined, comments away.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut command = String::new();
    for line in text.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                let line = line.split(" #").next().unwrap_or_default().trim();
                match line.strip_suffix('\\') {
                    Some(part) => command.push_str(part),
                    None => commands.push(std::mem::take(&mut command) + line),
                }
            }
            _ => {}
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// The arguments of a call of the binary, its name first; none for another program.
fn arguments(command: &str) -> Option<Vec<&str>> {
    let bare = PREFIXES.iter().rev().find_map(|prefix| command.strip_prefix(prefix));
    let bare = bare.unwrap_or(command);
    let rest = CALLS.iter().find_map(|call| bare.strip_prefix(call))?;
    // Where the output goes is the shell's affair.
    let rest = rest.split_once(" > ").map_or(rest, |(rest, _)| rest);
    assert!(!rest.contains(['\'', '"', '|', '>']), "this test does not read shell: {command}");
    Some(std::iter::once("pollux").chain(rest.split_whitespace()).collect())
}

/// Every call of the page parses; gives the subcommands in the order of the page.
fn check(page: &str, commands: &[String]) -> Vec<String> {
    let mut called = Vec::new();
    for command in commands {
        if let Some(arguments) = arguments(command) {
            if let Err(error) = Cli::try_parse_from(&arguments) {
                panic!("{page}: `{command}`\n{error}");
            }
            called.push(arguments[1].to_owned());
        } else if let Some(script) = command.strip_prefix("./") {
            let path = script.split_once(' ').map_or(script, |(path, _)| path);
            assert!(root().join(path).is_file(), "{page}: `{command}`: there is no {path}");
        }
    }
    called
}

#[test]
fn every_command_of_the_readme_is_one_that_the_binary_accepts() {
    let called = check("README.md", &commands(&read("README.md")));
    for subcommand in ["demo", "serve", "simulate", "certs", "config"] {
        assert!(
            called.iter().any(|name| name == subcommand),
            "the README never shows {subcommand}"
        );
    }
}

#[test]
fn the_readme_opens_with_its_two_commands() {
    let commands = commands(&read("README.md"));
    assert_eq!(commands[..2], ["cargo run --release -- demo", "./scripts/test.sh"]);
}

#[test]
fn every_command_of_the_deployment_is_one_that_the_binary_accepts() {
    let called = check("deploy/README.md", &commands(&read("deploy/README.md")));
    assert!(!called.is_empty(), "the page shows no call of the binary");
}

#[test]
fn the_unit_starts_what_the_binary_accepts() {
    let unit = read("deploy/pollux.service").replace("\\\n", " ");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    assert_eq!(check("deploy/pollux.service", &[start.unwrap().to_owned()]), ["serve"]);
}

#[test]
fn a_line_that_the_binary_refuses_is_found() {
    let page = "```sh\npollux serve --no-such-flag  # why\n```\n\n```\npollux not-a-command\n```\n";
    let commands = commands(page);
    assert_eq!(commands, ["pollux serve --no-such-flag"]);
    assert!(Cli::try_parse_from(arguments(&commands[0]).unwrap()).is_err());
}

#[test]
fn continued_lines_are_one_command() {
    assert_eq!(
        commands("```sh\nsudo pollux serve \\\n  --duration-s 1\n```\n"),
        ["sudo pollux serve --duration-s 1"]
    );
    assert_eq!(arguments("sudo pollux serve").unwrap(), ["pollux", "serve"]);
    assert_eq!(arguments("curl -s localhost"), None);
}
