//! The binary under a supervisor: it says that it is ready, that its ticks run, and that it stops.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A service that says nothing for so long stands still.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_supervisor_hears_ready_then_signs_of_life_then_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let pollux = env!("CARGO_BIN_EXE_pollux");
    let made = Command::new(pollux).args(["certs", "init"]).current_dir(folder.path()).output();
    assert!(made.unwrap().status.success());
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 32];
        let length = supervisor.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut service = Command::new(pollux)
        .args(["serve", "--set", "net.addr=127.0.0.1:0", "--set", "http.enabled=false"])
        .env("NOTIFY_SOCKET", &path)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1");
    kill_process(Pid::from_child(&service), Signal::TERM).unwrap();
    let last = std::iter::repeat_with(heard).find(|state| state != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(service.wait().unwrap().code(), Some(0));
}
