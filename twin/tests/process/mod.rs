//! The built binary as child processes: started, awaited by what they say, signalled, and never left behind.
//!
//! Waits end with a condition. Their bounds are generous and only turn a standstill into a failure with the words of the
//! child.
#![allow(dead_code, reason = "each test uses its own part of the processes")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A child that says nothing for so long stands still.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a metric.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 3000;

/// What a load shows to the twin of a [`plant`].
pub(crate) const GATEWAY: [&str; 4] =
    ["--cert", "certs/gateway-plant.pem", "--key", "certs/gateway-plant.key"];

/// What a child left behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The object on the last line of stdout.
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{error}: {last}\n{}", self.stderr))
    }

    /// The one line that says why the child failed.
    pub(crate) fn complaint(&self) -> &str {
        let mut lines = self.stderr.lines().filter(|line| line.starts_with("pollux: "));
        let line = lines.next().unwrap_or_else(|| panic!("no complaint in: {}", self.stderr));
        assert!(lines.next().is_none(), "one complaint: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        line
    }
}

/// A running child.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    heard: String,
    stdout: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts the binary in a folder, with an environment that holds no key. `UNDER_TEST_POLLUX` names another binary, such
    /// as that of another architecture below its emulator.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(args);
        Self::spawn(folder, command)
    }

    fn spawn(folder: &Path, mut command: Command) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("POLLUX_") {
                command.env_remove(name);
            }
        }
        let command = command.current_dir(folder).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, heard: String::new(), stdout: Some(stdout) }
    }

    /// Waits for a line on stderr that begins so, and gives the rest of it.
    pub(crate) fn await_line(&mut self, beginning: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {beginning} in: {}", self.heard));
            self.heard.push_str(&line);
            self.heard.push('\n');
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Sends SIGTERM again and again, until it ends.
    pub(crate) fn insist(mut self) -> Ended {
        while self.child.try_wait().unwrap().is_none() {
            self.terminate();
            std::thread::park_timeout(LOOK);
        }
        self.end()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.heard.push_str(&line);
                    self.heard.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the child never ends: {}", self.heard),
            }
        }
        let code = self.child.wait().unwrap().code();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Ended { code, stdout, stderr: std::mem::take(&mut self.heard) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a test that failed leaves a child that still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> OsString {
    let other = std::env::var_os("UNDER_TEST_POLLUX");
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_pollux").into())
}

/// Runs the binary with both outputs in a pipe whose reader leaves after so many lines. The code is that of the binary.
pub(crate) fn into_head(folder: &Path, lines: usize, args: &[&str]) -> Ended {
    let mut command = Command::new("bash");
    command.args(["-c", "set -o pipefail; \"$@\" 2>&1 | head -n \"$0\"", &lines.to_string()]);
    command.arg(binary()).args(args);
    Running::spawn(folder, command).end()
}

/// Runs the binary to its end.
pub(crate) fn pollux(folder: &Path, args: &[&str]) -> Ended {
    Running::start(folder, args).end()
}

/// A folder with the certificates of `certs init` in it, and those of a gateway for every device.
pub(crate) fn plant() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = pollux(folder.path(), &["certs", "init", "--gateway", "plant"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    folder
}

/// A twin on free ports.
const SERVE: [&str; 9] = [
    "serve",
    "--report",
    "report",
    "-o",
    "json",
    "--set",
    "net.addr=127.0.0.1:0",
    "--set",
    "http.addr=127.0.0.1:0",
];

/// A twin that serves.
pub(crate) struct Serve {
    running: Running,
    folder: PathBuf,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Serve {
    /// Starts a twin on free ports in a [`plant`], and waits until it is ready.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(folder: &Path, more: &[&str]) -> Self {
        Self::await_ready(folder, Running::start(folder, &[&SERVE[..], more].concat()))
    }

    /// The same below a shell, which runs this before it becomes the twin.
    pub(crate) fn start_behind(folder: &Path, script: &str, more: &[&str]) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{script}; exec \"$@\""), "bash"]).arg(binary());
        command.args(SERVE).args(more);
        Self::await_ready(folder, Running::spawn(folder, command))
    }

    fn await_ready(folder: &Path, mut running: Running) -> Self {
        let quic = running.await_line("listening quic ").parse().unwrap();
        let http = running.await_line("listening http ").parse().unwrap();
        let serve = Self { running, folder: folder.to_owned(), quic, http };
        serve.await_status("/readyz", 200);
        serve
    }

    /// Starts a load on this twin, from the gateway of the [`plant`].
    pub(crate) fn simulate(&self, args: &[&str]) -> Running {
        self.simulate_as(&GATEWAY, args)
    }

    /// Starts a load on this twin that shows what `identity` names.
    pub(crate) fn simulate_as(&self, identity: &[&str], args: &[&str]) -> Running {
        let addr = self.quic.to_string();
        let fixed = ["simulate", "--addr", &addr, "--ca", "certs/ca.pem", "-o", "json"];
        Running::start(&self.folder, &[&fixed[..], identity, args].concat())
    }

    /// Waits for a line on stderr that begins so.
    pub(crate) fn await_line(&mut self, beginning: &str) -> String {
        self.running.await_line(beginning)
    }

    /// What was said on stderr so far, as far as it was awaited.
    pub(crate) fn heard(&self) -> &str {
        &self.running.heard
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        kill_process(Pid::from_child(&self.running.child), Signal::HUP).unwrap();
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn await_status(&self, path: &str, status: u16) {
        for _ in 0..LOOKS_MAX {
            if self.get(path).0 == status {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
        panic!("{path} never answers {status}: {:?}", self.get(path));
    }

    /// The value of one series of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        let mut lines = body.lines().filter_map(|line| line.rsplit_once(' '));
        let found = lines.find(|(name, _)| *name == series);
        found.unwrap_or_else(|| panic!("no {series} in: {body}")).1.parse().unwrap()
    }

    /// Waits until a series has at least this value.
    pub(crate) fn await_metric(&self, series: &str, least: f64) {
        for _ in 0..LOOKS_MAX {
            if self.metric(series) >= least {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
        panic!("{series} never reaches {least}, it is {}", self.metric(series));
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.running.child)
    }

    /// The process, without what is known of it as a twin.
    pub(crate) fn into_running(self) -> Running {
        self.running
    }

    /// Asks for the end, awaits it, and gives the summary, which is the same on stdout and in the report.
    pub(crate) fn end(self) -> Value {
        self.running.terminate();
        let ended = self.running.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let written = std::fs::read(self.folder.join("report/summary.json")).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(ended.json(), written);
        written
    }
}
