//! What a run before has left under the name of a capture: it is kept beside the new one, because after a crash it is just
//! the one that is wanted.
//!
//! `NAME` becomes `NAME.1`, that becomes `NAME.2`, and so on up to [`KEPT`], which goes. Whatever is no capture stays
//! where it is, and the new one is refused.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::file::FILE_MAGIC;

/// Former captures that are kept: a crash, the upgrade that shall mend it, and the roll-back of that are three starts, and
/// the capture of the crash is still there behind them.
pub(super) const KEPT: u32 = 3;

/// Gives the name of a capture free. Says where what had it is now, if anything had.
pub(super) fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    if !is_capture(path)? {
        return Ok(None);
    }
    for number in (1..KEPT).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let aside = numbered(path, 1);
    fs::rename(path, &aside)?;
    Ok(Some(aside))
}

/// Whether a capture lies there, or the beginning of one that was cut off. A link or a device is left to whoever made it.
fn is_capture(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() => return Ok(false),
        Ok(_) => {}
    }
    let mut front = Vec::new();
    File::open(path)?.take(FILE_MAGIC.len() as u64).read_to_end(&mut front)?;
    Ok(FILE_MAGIC.starts_with(&front))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_captures_are_kept_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.capture");
        assert_eq!(set_aside(&path).unwrap(), None);
        for run in 0..5_u8 {
            fs::write(&path, [&FILE_MAGIC[..], &[run]].concat()).unwrap();
            assert_eq!(set_aside(&path).unwrap(), Some(numbered(&path, 1)));
        }
        let kept =
            |number| fs::read(numbered(&path, number)).ok().and_then(|bytes| bytes.last().copied());
        assert_eq!([1, 2, 3, 4].map(kept), [Some(4), Some(3), Some(2), None]);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_capture_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dear");
        fs::write(&path, "dear").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for path in [&path, &link, folder.path()] {
            assert_eq!(set_aside(path).unwrap(), None);
            assert!(path.exists());
        }
    }
}
