//! Certificates of a small authority in a folder: made, renewed, revoked and shown.
//!
//! ECDSA P-256, TLS 1.3 only in use. The folder holds the authority (`ca.pem`, `ca.key`), its revocation list (`crl.pem`),
//! a pair for each holder under its name, and under `issued` a copy of every certificate that was ever signed, so that
//! revoking a holder reaches the certificates that were replaced. Keys lie unencrypted on disk, readable by their owner
//! only. Commands that run at the same time follow one another, by a lock on `.lock`. Refuses to replace what nobody asked it to replace.

mod authority;
mod folder;
mod holder;
mod reading;
mod token;

use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use authority::Authority;
pub use authority::{AUTHORITY_DAYS, BROWSER_DAYS, BrowserPair, LEAF_DAYS, browser_pair};
use folder::Folder;
pub use holder::{Grant, Holder};
pub use reading::{Shown, Standing, show};
pub use token::token;

/// Why certificates were not made.
#[derive(Debug, Error)]
pub enum CertsError {
    /// An authority is there, and nothing says that it may go or be extended.
    #[error(
        "{} exists: add holders with `pollux certs enroll`, or replace it and everything it signed with --force",
        .0.display()
    )]
    AuthorityExists(PathBuf),
    /// A holder has a certificate already.
    #[error("{} exists: `pollux certs rotate` replaces it", .0.display())]
    Exists(PathBuf),
    /// A name that no certificate can hold.
    #[error("--name {name}: neither a host name nor an IP address")]
    Name {
        /// As it was given.
        name: String,
    },
    /// A gateway whose name no file can have.
    #[error("--gateway {name}: must be 1 to 64 lower-case letters, digits and hyphens")]
    Gateway {
        /// As it was given.
        name: String,
    },
    /// A prefix that no device can have.
    #[error("--prefix {digits}: must be 1 to 32 hexadecimal digits")]
    Prefix {
        /// As it was given.
        digits: String,
    },
    /// A serial number that no certificate can have.
    #[error("--serial {digits}: must be an even number of hexadecimal digits, at most 40")]
    Serial {
        /// As it was given.
        digits: String,
    },
    /// Nothing was ever signed for the holder.
    #[error("no certificate of {holder} in {}", folder.display())]
    Unknown {
        /// Whom it should be of.
        holder: Holder,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// An authority that cannot sign.
    #[error("{}: not an authority that can sign: {reason}", path.display())]
    Authority {
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        reason: rcgen::Error,
    },
    /// A file holds neither a certificate nor a revocation list.
    #[error("{}: neither a certificate nor a revocation list", .0.display())]
    Malformed(PathBuf),
    /// A list of tokens that cannot be read whole.
    #[error("{}: {reason}", path.display())]
    Tokens {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        reason: netloop::TokensError,
    },
    /// Key generation or signing failed.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
}

impl CertsError {
    /// Whether an argument is what no holder can have, whatever the folder holds.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Name { .. } | Self::Gateway { .. } | Self::Prefix { .. } | Self::Serial { .. }
        )
    }
}

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The folder; created if it is not there.
    pub folder: PathBuf,
    /// Further names and addresses of the server.
    pub names: Vec<String>,
    /// Devices that get a certificate.
    pub devices: Vec<Uuid>,
    /// Gateways that get a certificate for every device.
    pub gateways: Vec<String>,
    /// Replaces what is there.
    pub force: bool,
}

/// Makes an authority, a server, an empty revocation list and the holders of a request, and returns their paths in the
/// order of making.
///
/// An authority that is there already signs new holders and stays as it is, with its server; one that has none, because it was
/// cut short, gets it.
///
/// # Errors
///
/// Something is there that was not to be replaced, a name is none, or a file cannot be read or written.
pub fn init(request: &Request, now_unix_s: u64) -> Result<Vec<PathBuf>, CertsError> {
    let devices = request.devices.iter().map(|device| Grant::device(*device));
    let gateways = request.gateways.iter().map(|name| Grant::gateway_of_all(name));
    let grants = devices.map(Ok).chain(gateways).collect::<Result<Vec<_>, _>>()?;
    let server = Grant::server(&request.names)?;
    let mut folder = Folder::create(&request.folder)?;
    let there = folder.path("ca.pem");
    let joins = there.exists() && !request.force;
    let lacks_server = !folder.certificate(&server.holder).exists();
    if joins && !lacks_server && (grants.is_empty() || !request.names.is_empty()) {
        return Err(CertsError::AuthorityExists(there));
    }
    if !request.force {
        grants.iter().try_for_each(|grant| folder.vacant_for(&grant.holder))?;
    }
    let authority = if joins {
        Authority::read(&folder)?
    } else {
        if !request.force {
            // A key of the server alone may be one that another authority is about to sign.
            ["ca.key", "server.key", "server.pem"]
                .iter()
                .try_for_each(|name| folder.vacant(name))?;
        }
        Authority::make(&mut folder, now_unix_s)?
    };
    if !joins || lacks_server {
        if !joins || !folder.path("crl.pem").exists() {
            authority.write_list(&mut folder, &[], now_unix_s)?;
        }
        authority.issue(&mut folder, &server, now_unix_s)?;
    }
    for grant in &grants {
        authority.issue(&mut folder, grant, now_unix_s)?;
    }
    Ok(folder.written())
}

/// Gives certificates to holders that have none, or only revoked ones.
///
/// # Errors
///
/// There is no authority, a holder has a certificate in force, or a file cannot be read or written.
pub fn enroll(
    folder: &Path,
    grants: &[Grant],
    now_unix_s: u64,
) -> Result<Vec<PathBuf>, CertsError> {
    let mut folder = Folder::open(folder)?;
    let authority = Authority::read(&folder)?;
    let revoked = reading::revoked(&folder.path("crl.pem"))?;
    for Grant { holder, .. } in grants {
        let path = folder.certificate(holder);
        if path.exists() && !revoked.contains(&reading::serial(&path)?) {
            folder.vacant_for(holder)?;
        }
    }
    for grant in grants {
        authority.issue(&mut folder, grant, now_unix_s)?;
    }
    Ok(folder.written())
}

/// Gives holders a new key and a new certificate in place of their old ones, with the same names. The old ones stay valid,
/// for sessions that are open and holders that have not fetched theirs, unless `revokes`.
///
/// # Errors
///
/// There is no authority, a holder has no certificate, or a file cannot be read or written.
pub fn rotate(
    folder: &Path,
    holders: &[Holder],
    revokes: bool,
    now_unix_s: u64,
) -> Result<Vec<PathBuf>, CertsError> {
    let mut folder = Folder::open(folder)?;
    let authority = Authority::read(&folder)?;
    let mut ended = Vec::new();
    for holder in holders {
        let path = folder.certificate(holder);
        if !path.exists() {
            return Err(CertsError::Unknown { holder: holder.clone(), folder: folder.root() });
        }
        ended.extend(if revokes { folder.serials(holder)? } else { Vec::new() });
        let names = reading::names(&path)?;
        authority.issue(&mut folder, &Grant { holder: holder.clone(), names }, now_unix_s)?;
    }
    if !ended.is_empty() {
        authority.write_list(&mut folder, &ended, now_unix_s)?;
    }
    Ok(folder.written())
}

/// Adds every certificate of the holders, and those with the serial numbers, to the revocation list. Gives the path of the
/// list and how many certificates were added.
///
/// # Errors
///
/// There is no authority, a holder never had a certificate, or a file cannot be read or written.
pub fn revoke(
    folder: &Path,
    holders: &[Holder],
    serials: &[String],
    now_unix_s: u64,
) -> Result<(PathBuf, usize), CertsError> {
    let mut ended =
        serials.iter().map(|text| reading::parse_serial(text)).collect::<Result<Vec<_>, _>>()?;
    let mut folder = Folder::open(folder)?;
    let authority = Authority::read(&folder)?;
    for holder in holders {
        let found = folder.serials(holder)?;
        if found.is_empty() {
            return Err(CertsError::Unknown { holder: holder.clone(), folder: folder.root() });
        }
        ended.extend(found);
    }
    let added = authority.write_list(&mut folder, &ended, now_unix_s)?;
    Ok((folder.path("crl.pem"), added))
}

/// Certificates that never touch a disk; all fields DER.
#[derive(Clone)]
pub struct DevCerts {
    /// The authority that both sides trust.
    pub ca_der: Vec<u8>,
    /// The server's.
    pub server: DevPair,
    /// That of a gateway for every device.
    pub gateway: DevPair,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct DevPair {
    /// The chain, leaf first.
    pub chain_der: Vec<Vec<u8>>,
    /// The private key, PKCS #8.
    pub key_der: Vec<u8>,
}

/// An authority, a server for `localhost` and a gateway, in memory.
///
/// # Errors
///
/// Key generation or signing fails.
pub fn development(now_unix_s: u64) -> Result<DevCerts, CertsError> {
    let (authority, certificate) = Authority::new(now_unix_s)?;
    let pair = |grant: &Grant| {
        let (leaf, key) = authority.sign(grant, now_unix_s)?;
        Ok::<_, CertsError>(DevPair {
            chain_der: vec![leaf.der().to_vec()],
            key_der: key.serialize_der(),
        })
    };
    Ok(DevCerts {
        ca_der: certificate.der().to_vec(),
        server: pair(&Grant::server(&[])?)?,
        gateway: pair(&Grant::gateway_of_all("development")?)?,
    })
}
