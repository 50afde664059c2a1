//! The folder of an authority: which file is whose, and how files are written.
//!
//! A file appears whole, with its mode, under its name: it is written beside and renamed. A running twin that watches the
//! folder therefore never reads half of one. Who has the folder open is the only one: what is read from a list stays true
//! until the list is written again, and what is written beside is nobody else's.

use std::fs::{self, DirEntry, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
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
    written: Vec<PathBuf>,
    /// Closed, and so unlocked, with the folder.
    _lock: File,
}

impl Folder {
    /// Waits until nobody else has the folder open.
    pub(super) fn open(root: &Path) -> Result<Self, CertsError> {
        let path = root.join(LOCK);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(UNFINISHED).open(&path);
        let lock = opened
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|reason| file_error(&path, reason))?;
        Ok(Self { root: root.to_owned(), written: Vec::new(), _lock: lock })
    }

    /// Like `open`, and makes the folder where it is not there.
    pub(super) fn create(root: &Path) -> Result<Self, CertsError> {
        fs::create_dir_all(root).map_err(|reason| file_error(root, reason))?;
        Self::open(root)
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

    /// Refuses where a file has the name.
    pub(super) fn vacant(&self, name: &str) -> Result<(), CertsError> {
        let path = self.path(name);
        if path.exists() { Err(CertsError::Exists(path)) } else { Ok(()) }
    }

    /// Refuses where a holder has a certificate. A key alone is what was left of a pair that was cut short: nothing was ever
    /// signed for it.
    pub(super) fn vacant_for(&self, holder: &Holder) -> Result<(), CertsError> {
        if !self.certificate(holder).exists() {
            return Ok(());
        }
        self.vacant(&format!("{holder}.key"))?;
        self.vacant(&format!("{holder}.pem"))
    }

    /// Writes a key and its certificate under one name. Both are on the disk before either is renamed, so that a full disk
    /// leaves the pair that was there.
    pub(super) fn write_pair(
        &mut self,
        name: &str,
        key_pem: &str,
        certificate_pem: &str,
    ) -> Result<(), CertsError> {
        let key = self.beside(&format!("{name}.key"), key_pem, SECRET)?;
        let certificate = self.beside(&format!("{name}.pem"), certificate_pem, PUBLIC)?;
        self.rename(key)?;
        self.rename(certificate)
    }

    /// Writes the revocation list.
    pub(super) fn write_list(&mut self, pem: &str) -> Result<(), CertsError> {
        let list = self.beside("crl.pem", pem, PUBLIC)?;
        self.rename(list)
    }

    /// Writes a list of tokens. What it holds is of no use to anybody but the twin.
    pub(super) fn write_tokens(&mut self, name: &str, text: &str) -> Result<(), CertsError> {
        let list = self.beside(name, text, DIGESTS)?;
        self.rename(list)
    }

    /// Keeps a copy of what was signed for a holder.
    pub(super) fn keep(&self, holder: &Holder, serial: &[u8], pem: &str) -> Result<(), CertsError> {
        let issued = self.path("issued");
        fs::create_dir_all(&issued).map_err(|reason| file_error(&issued, reason))?;
        let name = format!("issued/{holder}-{}.pem", reading::hex(serial));
        self.beside(&name, pem, PUBLIC)?.rename().map(drop)
    }

    /// The serial numbers of everything that was ever signed for a holder.
    pub(super) fn serials(&self, holder: &Holder) -> Result<Vec<Vec<u8>>, CertsError> {
        let mut serials = Vec::new();
        let own = self.certificate(holder);
        if own.exists() {
            serials.push(reading::serial(&own)?);
        }
        let beginning = format!("{holder}-");
        for entry in self.issued()? {
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

    /// What lies under `issued`, which somebody may have taken away: then nothing does. A folder that is there and cannot be read
    /// whole is an error, because what is not seen would not be revoked.
    fn issued(&self) -> Result<Vec<DirEntry>, CertsError> {
        let path = self.path("issued");
        let entries = match fs::read_dir(&path) {
            Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.and_then(Iterator::collect),
        };
        entries.map_err(|reason| file_error(&path, reason))
    }

    fn rename(&mut self, beside: Beside) -> Result<(), CertsError> {
        self.written.push(beside.rename()?);
        Ok(())
    }

    /// Writes a file beside its place. It has the mode, or keeps what the file in its place has, whatever the umask: a twin
    /// that runs as somebody else has to read its successor as well.
    fn beside(&self, name: &str, text: &str, mode: Mode) -> Result<Beside, CertsError> {
        let place = self.path(name);
        let path = self.path(&format!("{name}.new"));
        // Of a run that was killed.
        if path.exists() {
            fs::remove_file(&path).map_err(|reason| file_error(&path, reason))?;
        }
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(UNFINISHED).open(&path);
        let beside = Beside { path, place };
        let written = opened.and_then(|mut file| {
            take_after(&file, &beside.place, mode)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
        });
        written.map_err(|reason| file_error(&beside.place, reason))?;
        Ok(beside)
    }
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

/// A file that is whole and does not have its name yet. It goes with its value, unless it got it.
struct Beside {
    path: PathBuf,
    place: PathBuf,
}

impl Beside {
    /// Puts it into its place, for good, and says where that is.
    fn rename(self) -> Result<PathBuf, CertsError> {
        let folder =
            self.place.parent().expect("a folder because the name of a file was joined to it");
        let renamed = fs::rename(&self.path, &self.place)
            // The name is on the disk only once its folder is.
            .and_then(|()| File::open(folder)?.sync_all());
        renamed.map_err(|reason| file_error(&self.place, reason))?;
        Ok(self.place.clone())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Gone where it was renamed; what cannot be removed is removed by the next that writes it.
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn file_error(path: &Path, reason: std::io::Error) -> CertsError {
    CertsError::File { path: path.to_owned(), reason }
}
