//! Tokens of devices that have no certificate: made once, kept as a digest. PROTOCOL.md#identity.

use std::path::Path;

use netloop::Tokens;
use uuid::Uuid;
use wire::DeviceId;

use super::folder::file_error;
use super::{CertsError, Folder, reading};

/// Makes a token out of a secret and writes its digest into the list, in place of the device's old one. Gives the token,
/// which is text.
///
/// # Errors
///
/// The list cannot be read whole, or not be written.
pub fn token(list: &Path, device: Uuid, secret: &[u8; 32]) -> Result<String, CertsError> {
    let (folder, name) = (list.parent(), list.file_name().and_then(|name| name.to_str()));
    let (Some(folder), Some(name)) = (folder, name) else {
        return Err(file_error(list, std::io::ErrorKind::InvalidFilename.into()));
    };
    let mut folder = Folder::open(folder)?;
    let text = if list.exists() {
        std::fs::read_to_string(list).map_err(|reason| file_error(list, reason))?
    } else {
        String::new()
    };
    Tokens::parse(&text).map_err(|reason| CertsError::Tokens { path: list.to_owned(), reason })?;
    let of_device = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        first.parse::<DeviceId>().is_ok_and(|found| found.0 == *device.as_bytes())
    };
    let token = reading::hex(secret);
    let line = Tokens::line(DeviceId(*device.as_bytes()), token.as_bytes());
    let mut lines: Vec<&str> = text.lines().filter(|line| !of_device(line)).collect();
    lines.push(&line);
    folder.write_tokens(name, &(lines.join("\n") + "\n"))?;
    Ok(token)
}
