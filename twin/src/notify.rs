//! What a supervisor is told: ready, alive, stopping, in the datagrams of sd_notify(3).
//!
//! The sign of life follows the ticks and the workers: a twin whose tick stands still, or all of whose workers do, sends none,
//! and `WatchdogSec` of the unit ends it.
//! Without NOTIFY_SOCKET in the environment nothing is said; a supervisor that does not listen is no error of the twin.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the supervisor.
#[derive(Debug)]
pub struct Notifier {
    supervisor: Option<(UnixDatagram, SocketAddr)>,
    ticks: u64,
}

impl Notifier {
    /// The supervisor of this process, if it has one.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    /// A supervisor that listens at a path, or at an abstract name that begins with `@`.
    #[must_use]
    pub fn new(socket: Option<&OsStr>) -> Self {
        let supervisor = socket.and_then(|socket| {
            let addr = match socket.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(socket),
            };
            Some((UnixDatagram::unbound().ok()?, addr.ok()?))
        });
        Self { supervisor, ticks: 0 }
    }

    /// Everything is bound and runs.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Draining has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Called once a second with the number of ticks so far, and whether a worker takes turns: a sign of life if there was a tick
    /// since the last call and there is such a worker.
    pub fn handle_second(&mut self, ticks: u64, serves: bool) {
        if std::mem::replace(&mut self.ticks, ticks) != ticks && serves {
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, state: &str) {
        if let Some((socket, addr)) = &self.supervisor {
            // A supervisor that is gone ends the process by itself.
            drop(socket.send_to_addr(state.as_bytes(), addr));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_stands_still_gives_no_sign_of_life_and_neither_do_workers_that_all_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        supervisor.set_nonblocking(true).unwrap();
        let heard = || {
            let mut bytes = [0; 32];
            let length = supervisor.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        };
        let mut notifier = Notifier::new(Some(path.as_os_str()));
        notifier.ready();
        assert_eq!(heard().as_deref(), Some("READY=1"));
        notifier.handle_second(1000, true);
        assert_eq!(heard().as_deref(), Some("WATCHDOG=1"));
        notifier.handle_second(1000, true);
        assert_eq!(heard(), None);
        notifier.handle_second(1001, true);
        assert_eq!(heard().as_deref(), Some("WATCHDOG=1"));
        notifier.handle_second(1002, false);
        assert_eq!(heard(), None, "no worker takes turns");
        notifier.handle_second(1003, true);
        assert_eq!(heard().as_deref(), Some("WATCHDOG=1"));
        notifier.stopping();
        assert_eq!(heard().as_deref(), Some("STOPPING=1"));
    }

    #[test]
    fn an_abstract_name_is_reached_and_silence_is_no_error() {
        let name = format!("pollux-notify-{}", std::process::id());
        let supervisor =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::new(Some(OsStr::new(&format!("@{name}")))).ready();
        let mut bytes = [0; 32];
        assert_eq!(supervisor.recv(&mut bytes).unwrap(), 7);
        Notifier::new(None).ready();
        Notifier::new(Some(OsStr::new("/nowhere/notify"))).ready();
    }
}
