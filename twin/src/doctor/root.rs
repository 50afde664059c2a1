//! Where the probes read: the host itself, or a folder of files in its place.
//!
//! Every path is relative (`proc/swaps`). What is missing or cannot be read is `None`; nothing here fails. What is
//! told to programs alone comes from them: link settings from ethtool, or from `ethtool/OPTION/INTERFACE` of a folder, and
//! throttling of a Raspberry Pi from vcgencmd, or from `vcgencmd/get_throttled`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a host.
#[derive(Clone, Debug)]
pub struct Root {
    folder: PathBuf,
    live: bool,
}

impl Root {
    /// The machine that this process runs on.
    #[must_use]
    pub fn live() -> Self {
        Self { folder: PathBuf::from("/"), live: true }
    }

    /// A folder with `proc` and `sys` of another machine.
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), live: false }
    }

    /// The content of a file without the white space and zero bytes around it.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.folder.join(path)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some(text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0').to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// Whether there is such a file or folder.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.folder.join(path).exists()
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The files `FOLDER/NAME/REST` for the names that begin with the prefix and a digit: path and content.
    pub(super) fn each(&self, folder: &str, prefix: &str, rest: &str) -> Vec<(String, String)> {
        let numbered = |name: &String| {
            name.strip_prefix(prefix)
                .is_some_and(|end| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let names = self.names(folder).into_iter().filter(numbered);
        names
            .filter_map(|name| Some((name.clone(), self.text(&format!("{folder}/{name}/{rest}"))?)))
            .collect()
    }

    /// Whether a process with one of the names runs.
    pub(super) fn process(&self, names: &[&str]) -> Option<String> {
        let mut running = self.each("proc", "", "comm").into_iter().map(|(_, name)| name);
        running.find(|name| names.contains(&name.as_str()))
    }

    /// What ethtool says of an interface.
    pub(super) fn ethtool(&self, option: &str, interface: &str) -> Option<String> {
        self.command("ethtool", &[option, interface])
    }

    /// What the firmware of a Raspberry Pi answers.
    pub(super) fn vcgencmd(&self, question: &str) -> Option<String> {
        self.command("vcgencmd", &[question])
    }

    /// What a program says, or the file `PROGRAM/ARGUMENT/…` of a folder.
    fn command(&self, program: &str, arguments: &[&str]) -> Option<String> {
        if !self.live {
            return self.text(&format!("{program}/{}", arguments.join("/")));
        }
        let output = Command::new(program).args(arguments).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim().to_owned())
    }
}
