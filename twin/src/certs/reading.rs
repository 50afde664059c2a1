//! Certificates and revocation lists as they are found in files, and what is shown of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::SanType;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::Serialize;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::CertsError;
use super::folder::file_error;

/// What a revocation list says.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Counts the lists of an authority.
    pub(super) number: u64,
    /// Serial numbers, each with when it was revoked, in unix seconds.
    pub(super) revoked: BTreeMap<Vec<u8>, u64>,
}

/// Whether a certificate can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It can.
    Valid,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// It is on the revocation list that lies beside it.
    Revoked,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Where it lies.
    pub file: PathBuf,
    /// Its distinguished name.
    pub subject: String,
    /// Its subject alternative names.
    pub names: Vec<String>,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// The first second of its validity, in unix seconds.
    pub not_before_unix_s: i64,
    /// The last one.
    pub not_after_unix_s: i64,
    /// Whether it can be used.
    pub standing: Standing,
}

/// Several lines for people.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match self.standing {
            Standing::Valid => "valid",
            Standing::NotYetValid => "not valid yet",
            Standing::Expired => "expired",
            Standing::Revoked => "revoked",
        };
        writeln!(f, "{}", self.file.display())?;
        writeln!(f, "  subject   {}", self.subject)?;
        for name in &self.names {
            writeln!(f, "  name      {name}")?;
        }
        writeln!(f, "  serial    {}", self.serial)?;
        let [from, to] = [self.not_before_unix_s, self.not_after_unix_s].map(date);
        write!(f, "  validity  {from} to {to}: {standing}")
    }
}

fn date(unix_s: i64) -> String {
    ASN1Time::from_timestamp(unix_s).map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}

/// Reads certificates. A folder stands for those that lie in it; a revocation list beside a certificate counts.
///
/// # Errors
///
/// A file cannot be read, or is no certificate.
pub fn show(paths: &[PathBuf], now_unix_s: u64) -> Result<Vec<Shown>, CertsError> {
    let mut shown = Vec::new();
    for path in paths {
        if !path.is_dir() {
            shown.push(show_file(path, now_unix_s)?);
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|reason| file_error(path, reason))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "pem"));
        files.retain(|file| !file.ends_with("crl.pem"));
        files.sort();
        for file in files {
            shown.push(show_file(&file, now_unix_s)?);
        }
    }
    Ok(shown)
}

fn show_file(file: &Path, now_unix_s: u64) -> Result<Shown, CertsError> {
    let der = certificate(file)?;
    let malformed = || CertsError::Malformed(file.to_owned());
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| malformed())?;
    let serial = significant(certificate.raw_serial());
    let beside = file.with_file_name("crl.pem");
    let [from, to] = [certificate.validity().not_before, certificate.validity().not_after]
        .map(|time| time.timestamp());
    let now = now_unix_s.cast_signed();
    let standing = match revoked(&beside)? {
        list if list.contains(&serial) => Standing::Revoked,
        _ if now < from => Standing::NotYetValid,
        _ if now > to => Standing::Expired,
        _ => Standing::Valid,
    };
    Ok(Shown {
        file: file.to_owned(),
        subject: certificate.subject().to_string(),
        names: general_names(&certificate).into_iter().map(|name| text(&name)).collect(),
        serial: hex(&serial),
        not_before_unix_s: from,
        not_after_unix_s: to,
        standing,
    })
}

/// The names of the certificate in a file.
pub(super) fn names(file: &Path) -> Result<Vec<SanType>, CertsError> {
    let der = certificate(file)?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|_| CertsError::Malformed(file.to_owned()))?;
    Ok(general_names(&certificate))
}

fn general_names(certificate: &X509Certificate<'_>) -> Vec<SanType> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(found) = extension.parsed_extension() {
            names.extend(found.general_names.iter().filter_map(general_name));
        }
    }
    names
}

/// Names of other kinds are not made here, and grant nothing.
fn general_name(name: &GeneralName<'_>) -> Option<SanType> {
    match name {
        GeneralName::DNSName(host) => Some(SanType::DnsName((*host).try_into().ok()?)),
        GeneralName::URI(uri) => Some(SanType::URI((*uri).try_into().ok()?)),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let sixteen = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            Some(SanType::IpAddress(four.or(sixteen).ok()?))
        }
        _ => None,
    }
}

fn text(name: &SanType) -> String {
    match name {
        SanType::DnsName(host) => host.to_string(),
        SanType::URI(uri) => uri.to_string(),
        SanType::IpAddress(address) => address.to_string(),
        other => format!("{other:?}"),
    }
}

/// The serial number of the certificate in a file.
pub(super) fn serial(file: &Path) -> Result<Vec<u8>, CertsError> {
    serial_of(&certificate(file)?).ok_or_else(|| CertsError::Malformed(file.to_owned()))
}

pub(super) fn serial_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(significant(certificate.raw_serial()))
}

/// A serial number without the zero that only says that it is positive.
fn significant(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// A serial number as it was typed.
pub(super) fn parse_serial(digits: &str) -> Result<Vec<u8>, CertsError> {
    let wrong = || CertsError::Serial { digits: digits.to_owned() };
    let right = digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && digits.len().is_multiple_of(2)
        && (2..=40).contains(&digits.len());
    if !right {
        return Err(wrong());
    }
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    Ok(significant(&(0..digits.len()).step_by(2).map(byte).collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn certificate(file: &Path) -> Result<CertificateDer<'static>, CertsError> {
    let bytes = std::fs::read(file).map_err(|reason| file_error(file, reason))?;
    CertificateDer::from_pem_slice(&bytes).map_err(|_| CertsError::Malformed(file.to_owned()))
}

/// What the list in a file revokes; nothing where there is no file.
pub(super) fn revoked(file: &Path) -> Result<Vec<Vec<u8>>, CertsError> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    Ok(list(file)?.revoked.into_keys().collect())
}

/// The revocation list in a file.
pub(super) fn list(file: &Path) -> Result<List, CertsError> {
    let malformed = || CertsError::Malformed(file.to_owned());
    let bytes = std::fs::read(file).map_err(|reason| file_error(file, reason))?;
    let der = CertificateRevocationListDer::from_pem_slice(&bytes).map_err(|_| malformed())?;
    let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| malformed())?;
    let number = list.crl_number().and_then(|number| number.iter_u64_digits().next());
    let revoked = list.iter_revoked_certificates().map(|entry| {
        let revoked_s = u64::try_from(entry.revocation_date.timestamp()).unwrap_or(0);
        (significant(entry.raw_serial()), revoked_s)
    });
    Ok(List { number: number.unwrap_or(0), revoked: revoked.collect() })
}
