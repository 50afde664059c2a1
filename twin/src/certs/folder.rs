//! The folder of an authority: which file is whose, and how files are written.
//!
//! A file appears whole, with its mode, under its name: it is written beside and renamed. A running twin that watches the
//! folder therefore never reads half of one. Who has the folder open is the only one: what is read from a list stays true
//! until the list is written again, and what is written beside is nobody else's.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{CertsError, Holder, reading};

/// Who may read a file.
#[derive(Clone, Copy)]
struct Mode {
    /// Its mode where there was none before it.
    new: u32,
    /// What it may keep of the mode of the one before it.
    kept: u32,
}

/// Certificates and revocation lists, which are for everybody.
const PUBLIC: Mode = Mode { new: 0o644, kept: 0o777 };
/// Keys, which others than owner and group never read.
const SECRET: Mode = Mode { new: 0o600, kept: 0o770 };
/// Digests of tokens, which are of no use to anybody but the twin.
const DIGESTS: Mode = Mode { new: 0o600, kept: 0o777 };
/// A file while it is written.
const UNFINISHED: u32 = 0o600;
/// The bits of the group in a mode.
const GROUP: u32 = 0o070;

/// The file that is locked. The folder itself could be locked by whoever may read it, who would hold up every revocation.
const LOCK: &str = ".lock";

/// A folder that nobody else changes, and what was written into it.
pub(super) struct Folder {
    root: PathBuf,
    replaces: bool,
    written: Vec<PathBuf>,
    /// Closed, and so unlocked, with the folder.
    _lock: File,
}

impl Folder {
    /// Waits until nobody else has the folder open. `replaces` allows files that are there to be replaced.
    pub(super) fn open(root: &Path, replaces: bool) -> Result<Self, CertsError> {
        let path = root.join(LOCK);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(UNFINISHED).open(&path);
        let lock = opened
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|reason| file_error(&path, reason))?;
        Ok(Self { root: root.to_owned(), replaces, written: Vec::new(), _lock: lock })
    }

    /// Like `open`, and makes the folder where it is not there.
    pub(super) fn create(root: &Path, replaces: bool) -> Result<Self, CertsError> {
        fs::create_dir_all(root).map_err(|reason| file_error(root, reason))?;
        Self::open(root, replaces)
    }

    pub(super) const fn set_replacing(&mut self, replaces: bool) {
        self.replaces = replaces;
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The certificate of a holder.
    pub(super) fn certificate(&self, holder: &Holder) -> PathBuf {
        self.path(&format!("{holder}.pem"))
    }

    /// The paths that were written, in their order.
    pub(super) fn written(self) -> Vec<PathBuf> {
        self.written
    }

    pub(super) fn read(&self, name: &str) -> Result<(PathBuf, String), CertsError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(reason) => Err(file_error(&path, reason)),
        }
    }

    pub(super) fn write_key(&mut self, name: &str, pem: &str) -> Result<(), CertsError> {
        self.write(name, pem, SECRET)
    }

    pub(super) fn write_public(&mut self, name: &str, pem: &str) -> Result<(), CertsError> {
        self.write(name, pem, PUBLIC)
    }

    /// The list is replaced by every revocation, whatever else may be.
    pub(super) fn write_list(&mut self, pem: &str) -> Result<(), CertsError> {
        let replaces = std::mem::replace(&mut self.replaces, true);
        let written = self.write("crl.pem", pem, PUBLIC);
        self.replaces = replaces;
        written
    }

    /// Keeps a copy of what was signed for a holder.
    pub(super) fn keep(&self, holder: &Holder, serial: &[u8], pem: &str) -> Result<(), CertsError> {
        let issued = self.path("issued");
        fs::create_dir_all(&issued).map_err(|reason| file_error(&issued, reason))?;
        put(&issued.join(format!("{holder}-{}.pem", reading::hex(serial))), pem, PUBLIC)
    }

    /// The serial numbers of everything that was ever signed for a holder.
    pub(super) fn serials(&self, holder: &Holder) -> Result<Vec<Vec<u8>>, CertsError> {
        let mut serials = Vec::new();
        let own = self.certificate(holder);
        if own.exists() {
            serials.push(reading::serial(&own)?);
        }
        let beginning = format!("{holder}-");
        for entry in fs::read_dir(self.path("issued")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let digits = name.strip_prefix(&beginning).and_then(|rest| rest.strip_suffix(".pem"));
            // The name of another gateway may begin with that of this one; no serial number has a hyphen.
            if digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
                serials.push(reading::serial(&entry.path())?);
            }
        }
        serials.sort();
        serials.dedup();
        Ok(serials)
    }

    /// Writes a list of tokens.
    pub(super) fn write_tokens(&mut self, name: &str, text: &str) -> Result<(), CertsError> {
        self.write(name, text, DIGESTS)
    }

    fn write(&mut self, name: &str, text: &str, mode: Mode) -> Result<(), CertsError> {
        let path = self.path(name);
        if path.exists() && !self.replaces {
            return Err(CertsError::Exists(path));
        }
        put(&path, text, mode)?;
        self.written.push(path);
        Ok(())
    }
}

/// A file is always a new one: nobody reads half of it. It has the mode, or keeps what the file in its place has, whatever
/// the umask: a twin that runs as somebody else has to read its successor as well.
fn put(path: &Path, text: &str, mode: Mode) -> Result<(), CertsError> {
    let beside = path.with_extension("new");
    if beside.exists() {
        fs::remove_file(&beside).map_err(|reason| file_error(&beside, reason))?;
    }
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(UNFINISHED).open(&beside);
    let written = opened.and_then(|mut file| {
        take_after(&file, path, mode)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
    });
    written.and_then(|()| fs::rename(&beside, path)).map_err(|reason| file_error(path, reason))
}

/// Gives a file its mode, or owner and mode of the file whose place it takes.
fn take_after(file: &File, place: &Path, mode: Mode) -> std::io::Result<()> {
    let Ok(before) = fs::metadata(place) else {
        return file.set_permissions(Permissions::from_mode(mode.new));
    };
    let mut kept = before.mode() & mode.kept;
    // Only root may give files away, and to a group that is not one's own nobody else may.
    if fchown(file, Some(before.uid()), Some(before.gid())).is_err() {
        // What the old group was let do, the group of whoever writes was not.
        kept = kept & !GROUP | mode.new & GROUP;
    }
    file.set_permissions(Permissions::from_mode(kept))
}

pub(super) fn file_error(path: &Path, reason: std::io::Error) -> CertsError {
    CertsError::File { path: path.to_owned(), reason }
}
