//! Certificates for development: an authority, a server, devices.
//!
//! ECDSA P-256, TLS 1.3 only in use. A device's certificate names it by `urn:uuid:` in its subject
//! alternative names. Production brings certificates of its own; these keys lie unencrypted on disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use thiserror::Error;
use uuid::Uuid;

/// How long an authority lasts, in days: ten years, the life of a machine.
pub const AUTHORITY_DAYS: u64 = 3650;
/// How long a server's or a device's certificate lasts, in days.
pub const LEAF_DAYS: u64 = 825;
/// Certificates begin this long before they are made, because a board without a battery starts with a
/// clock that is behind.
const BACKDATED_DAYS: u64 = 1;
const DAY_S: u64 = 86_400;

/// Names every server certificate holds.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why certificates were not made.
#[derive(Debug, Error)]
pub enum CertsError {
    /// An authority is there, and nothing says that it may go or be extended.
    #[error(
        "{} exists: add devices with --device UUID, or replace it and everything it signed with --force",
        .0.display()
    )]
    AuthorityExists(PathBuf),
    /// A device has a certificate already.
    #[error("{} exists: --force replaces everything in its folder", .0.display())]
    Exists(PathBuf),
    /// A name that no certificate can hold.
    #[error("--name {name}: neither a host name nor an IP address")]
    Name {
        /// As it was given.
        name: String,
    },
    /// An authority that cannot sign.
    #[error("{}: not an authority that can sign: {reason}", path.display())]
    Authority {
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        reason: rcgen::Error,
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

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The folder; created if it is not there.
    pub folder: PathBuf,
    /// Further names and addresses of the server.
    pub names: Vec<String>,
    /// Devices that get a certificate.
    pub devices: Vec<Uuid>,
    /// Replaces what is there.
    pub force: bool,
}

/// Makes the files of a request and returns their paths in the order of making.
///
/// An authority that is there already signs new devices and stays as it is, with its server.
///
/// # Errors
///
/// Something is there that was not to be replaced, a name is none, or a file cannot be read or written.
pub fn init(request: &Request, now_unix_s: u64) -> Result<Vec<PathBuf>, CertsError> {
    let mut files = Files { request, written: Vec::new() };
    let authority = files.path("ca.pem");
    std::fs::create_dir_all(&request.folder)
        .map_err(|reason| file_error(&request.folder, reason))?;
    let issuer = if authority.exists() && !request.force {
        if request.devices.is_empty() || !request.names.is_empty() {
            return Err(CertsError::AuthorityExists(authority));
        }
        read_authority(&request.folder)?
    } else {
        let server_names = server_names(&request.names)?;
        let (issuer, pem) = make_authority(now_unix_s)?;
        files.write_key("ca.key", issuer.key())?;
        files.write_public("ca.pem", &pem)?;
        let (pem, _, key) = sign(server_params(server_names), &issuer, now_unix_s)?;
        files.write_key("server.key", &key)?;
        files.write_public("server.pem", &pem)?;
        issuer
    };
    for device in &request.devices {
        let (pem, _, key) = sign(device_params(*device)?, &issuer, now_unix_s)?;
        files.write_key(&format!("device-{device}.key"), &key)?;
        files.write_public(&format!("device-{device}.pem"), &pem)?;
    }
    Ok(files.written)
}

/// Certificates that never touch a disk; all fields DER.
#[derive(Clone)]
pub struct DevCerts {
    /// The authority that clients trust.
    pub ca_der: Vec<u8>,
    /// The server's chain, leaf first.
    pub chain_der: Vec<Vec<u8>>,
    /// The server's private key, PKCS #8.
    pub key_der: Vec<u8>,
}

/// An authority and a server for `localhost`, in memory.
///
/// # Errors
///
/// Key generation or signing fails.
pub fn development(now_unix_s: u64) -> Result<DevCerts, CertsError> {
    let (issuer, ca_der) = authority(now_unix_s)?;
    let (_, leaf, key) = sign(server_params(server_names(&[])?), &issuer, now_unix_s)?;
    Ok(DevCerts {
        ca_der: ca_der.der().to_vec(),
        chain_der: vec![leaf],
        key_der: key.serialize_der(),
    })
}

type Authority = Issuer<'static, KeyPair>;

fn authority(now_unix_s: u64) -> Result<(Authority, rcgen::Certificate), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = named("Pollux development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, now_unix_s, AUTHORITY_DAYS);
    let certificate = params.self_signed(&key)?;
    Ok((Issuer::new(params, key), certificate))
}

fn make_authority(now_unix_s: u64) -> Result<(Authority, String), rcgen::Error> {
    authority(now_unix_s).map(|(issuer, certificate)| (issuer, certificate.pem()))
}

fn read_authority(folder: &Path) -> Result<Authority, CertsError> {
    let read = |name: &str| {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).map_err(|reason| file_error(&path, reason))?;
        Ok::<_, CertsError>((path, text))
    };
    let (path, text) = read("ca.key")?;
    let key = KeyPair::from_pem(&text).map_err(|reason| CertsError::Authority { path, reason })?;
    let (path, text) = read("ca.pem")?;
    Issuer::from_ca_cert_pem(&text, key).map_err(|reason| CertsError::Authority { path, reason })
}

/// Signs a leaf with a key of its own: PEM, DER and the key.
fn sign(
    mut params: CertificateParams,
    issuer: &Authority,
    now_unix_s: u64,
) -> Result<(String, Vec<u8>, KeyPair), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    valid_for(&mut params, now_unix_s, LEAF_DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), certificate.der().to_vec(), key))
}

fn server_params(names: Vec<SanType>) -> CertificateParams {
    let mut params = named("Pollux twin");
    params.subject_alt_names = names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn device_params(device: Uuid) -> Result<CertificateParams, rcgen::Error> {
    let mut params = named(&device.to_string());
    params.subject_alt_names = vec![SanType::URI(device.urn().to_string().try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn valid_for(params: &mut CertificateParams, now_unix_s: u64, days: u64) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now_unix_s);
    params.not_before = now - Duration::from_secs(BACKDATED_DAYS * DAY_S);
    params.not_after = now + Duration::from_secs(days * DAY_S);
}

fn server_names(names: &[String]) -> Result<Vec<SanType>, CertsError> {
    let mut all: Vec<&str> = LOCAL_NAMES.to_vec();
    all.extend(names.iter().map(String::as_str).filter(|name| !LOCAL_NAMES.contains(name)));
    all.into_iter().map(server_name).collect()
}

fn server_name(name: &str) -> Result<SanType, CertsError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A wildcard stands for the whole first label, or for nothing.
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !rest.split('.').all(label) {
        return Err(CertsError::Name { name: name.to_owned() });
    }
    Ok(SanType::DnsName(name.to_owned().try_into()?))
}

struct Files<'a> {
    request: &'a Request,
    written: Vec<PathBuf>,
}

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.request.folder.join(name)
    }

    fn write_key(&mut self, name: &str, key: &KeyPair) -> Result<(), CertsError> {
        self.write(name, &key.serialize_pem(), 0o600)
    }

    fn write_public(&mut self, name: &str, pem: &str) -> Result<(), CertsError> {
        self.write(name, pem, 0o644)
    }

    /// A file is always a new one: its mode is right from its first byte.
    fn write(&mut self, name: &str, text: &str, mode: u32) -> Result<(), CertsError> {
        let path = self.path(name);
        if path.exists() {
            if !self.request.force {
                return Err(CertsError::Exists(path));
            }
            std::fs::remove_file(&path).map_err(|reason| file_error(&path, reason))?;
        }
        let options = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        options
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|reason| file_error(&path, reason))?;
        self.written.push(path);
        Ok(())
    }
}

fn file_error(path: &Path, reason: std::io::Error) -> CertsError {
    CertsError::File { path: path.to_owned(), reason }
}
