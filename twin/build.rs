//! Bakes the revision and the compiler into the binary, so that every report names what it measured.
//!
//! A build without git (a source archive, a package) is not refused: it says "unknown".

use std::process::Command;

fn main() {
    // Not below POLLUX_: cargo hands these on to what it runs, where that prefix means configuration.
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let revision =
        line(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]));
    println!("cargo::rustc-env=BUILD_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    let compiler = line(Command::new(rustc).arg("--version"));
    println!("cargo::rustc-env=BUILD_RUSTC={}", compiler.as_deref().unwrap_or("unknown"));
    // The branch file moves at a commit and HEAD at a checkout; both are asked of git, because a
    // linked work tree keeps them outside its own folder.
    for name in ["HEAD", "index"] {
        if let Some(path) = line(Command::new("git").args(["rev-parse", "--git-path", name])) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
