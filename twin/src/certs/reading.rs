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
    /// It is on the revocation list that it is held against.
    Revoked,
    /// The authority that it is held against did not sign it, nor a certificate behind it in its file.
    Foreign,
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
    /// The authorities that it is held against: `ca.pem` beside it or in the folder above. Where there is none, nobody has
    /// looked who signed it.
    pub authority: Option<PathBuf>,
    /// The revocation list, `crl.pem` of the same folder. Where there is none, nothing is known of revocations.
    pub list: Option<PathBuf>,
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
            Standing::Foreign => "signed by another authority",
        };
        writeln!(f, "{}", self.file.display())?;
        writeln!(f, "  subject   {}", self.subject)?;
        for name in &self.names {
            writeln!(f, "  name      {name}")?;
        }
        writeln!(f, "  serial    {}", self.serial)?;
        let [from, to] = [self.not_before_unix_s, self.not_after_unix_s].map(date);
        write!(f, "  validity  {from} to {to}: {standing}")?;
        match &self.authority {
            Some(path) if self.standing == Standing::Foreign => {
                write!(f, "\n  authority {}", path.display())?;
            }
            Some(_) => {}
            None => write!(f, "\n  unknown   who signed it: no ca.pem beside it or above")?,
        }
        if self.list.is_none() {
            write!(f, "\n  unknown   whether it is revoked: no crl.pem beside it or above")?;
        }
        Ok(())
    }
}

fn date(unix_s: i64) -> String {
    ASN1Time::from_timestamp(unix_s).map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}

/// Reads certificates. A folder stands for those that lie in it. They are held against the authority and the revocation list
/// that lie beside them, or in the folder above: so are the copies under `issued`.
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
    let chain = chain(file)?;
    let malformed = || CertsError::Malformed(file.to_owned());
    let leaf = chain.first().ok_or_else(malformed)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| malformed())?;
    let serial = significant(certificate.raw_serial());
    let [authority, list] = held_against(file);
    let [from, to] = [certificate.validity().not_before, certificate.validity().not_after]
        .map(|time| time.timestamp());
    let now = now_unix_s.cast_signed();
    let authorities = authority.as_deref().map(self::chain).transpose()?;
    let revoked = list.as_deref().map(revoked).transpose()?.unwrap_or_default();
    let standing = match authorities {
        Some(authorities) if !leads(&chain, &authorities) => Standing::Foreign,
        _ if revoked.contains(&serial) => Standing::Revoked,
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
        authority,
        list,
        standing,
    })
}

/// Authorities and revocation list of the folder of a file, or of the folder above where it has neither.
fn held_against(file: &Path) -> [Option<PathBuf>; 2] {
    let folder = file.parent().unwrap_or(Path::new(""));
    // The way up, also from a folder that has no name here, such as `.`.
    let named = folder.file_name().and(folder.parent());
    let above = named.map_or_else(|| folder.join(".."), Path::to_owned);
    let beside = |folder: &Path| {
        ["ca.pem", "crl.pem"].map(|name| Some(folder.join(name)).filter(|path| path.exists()))
    };
    match beside(folder) {
        [None, None] => beside(&above),
        found => found,
    }
}

/// Whether a chain, leaf first, leads to one of the authorities.
fn leads(chain: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> bool {
    for (at, certificate) in chain.iter().enumerate() {
        if authorities.iter().any(|authority| signed(certificate, authority)) {
            return true;
        }
        if !chain.get(at + 1).is_some_and(|next| signed(certificate, next)) {
            return false;
        }
    }
    false
}

/// Whether the key of one certificate signed the other.
fn signed(certificate: &CertificateDer<'_>, by: &CertificateDer<'_>) -> bool {
    let read = |der| X509Certificate::from_der(der).ok().map(|(_, read)| read);
    let (Some(certificate), Some(by)) = (read(certificate), read(by)) else { return false };
    certificate.verify_signature(Some(by.public_key())).is_ok()
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
    let first = chain(file)?.into_iter().next();
    first.ok_or_else(|| CertsError::Malformed(file.to_owned()))
}

/// All certificates of a file, in their order.
fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertsError> {
    let bytes = std::fs::read(file).map_err(|reason| file_error(file, reason))?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>();
    found.map_err(|_| CertsError::Malformed(file.to_owned()))
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
