//! Who a peer is: what its certificate grants, and which devices its session may write for. PROTOCOL.md#identity.
//!
//! A certificate is read once for each handshake and boiled down to a [`Scope`] and a [`Credential`] of 24 bytes. The
//! scope is asked where a session names a sensor for the first time (`keys.rs`), never for a record that is known.
//! Whatever is not understood grants nothing.

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use wire::DeviceId;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names of one certificate beyond so many are an attack, not a gateway.
const NAMES_MAX: usize = 1024;

/// Why a peer was turned away for what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It shows no certificate where one is asked for.
    NoCertificate,
    /// Its certificate is not signed by an authority that is trusted, or no longer.
    Untrusted,
    /// Its certificate is not valid yet, or no longer.
    Expired,
    /// Its certificate was revoked.
    Revoked,
    /// Its certificate names no device.
    NoDevice,
    /// Its token is wrong, or did not come in time.
    Token,
}

impl Refusal {
    /// Number of reasons.
    pub const COUNT: usize = 6;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NoCertificate,
        Self::Untrusted,
        Self::Expired,
        Self::Revoked,
        Self::NoDevice,
        Self::Token,
    ];

    /// Lower-case name, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Untrusted => "untrusted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NoDevice => "no_device",
            Self::Token => "token",
        }
    }

    /// The refusal that an alert of our own TLS stands for (RFC 8446, section 6.2).
    pub(crate) const fn of_alert(alert: u8) -> Option<Self> {
        match alert {
            116 => Some(Self::NoCertificate),
            // An authority of the same name with another key, as every folder of development certificates has.
            48 | 51 => Some(Self::Untrusted),
            45 => Some(Self::Expired),
            44 => Some(Self::Revoked),
            49 => Some(Self::NoDevice),
            _ => None,
        }
    }

    /// The code that an established session is closed with.
    pub(crate) const fn close_code(self) -> wire::CloseCode {
        match self {
            Self::Revoked => wire::CloseCode::Revoked,
            _ => wire::CloseCode::Unauthorized,
        }
    }
}

/// The devices that a session may write for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// TLS has not said yet who the peer is: nothing is read.
    #[default]
    Unknown,
    /// The peer has to prove itself by a token: only its control stream is read.
    Nobody,
    /// The peer is a browser: it watches, and writes for nobody.
    Viewer,
    /// One device.
    Device([u8; 16]),
    /// The devices of a gateway.
    Many(Box<Many>),
    /// Every device.
    All,
}

/// What the certificate of a gateway lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Many {
    /// Sorted.
    devices: Vec<[u8; 16]>,
    prefixes: Vec<Prefix>,
}

/// The upper bits of a device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix {
    bits: u128,
    mask: u128,
}

impl Scope {
    /// True when the session may write for `device`.
    pub(crate) fn allows(&self, device: &[u8; 16]) -> bool {
        match self {
            Self::Unknown | Self::Nobody | Self::Viewer => false,
            Self::Device(own) => own == device,
            Self::Many(many) => many.allows(device),
            Self::All => true,
        }
    }
}

impl Many {
    fn allows(&self, device: &[u8; 16]) -> bool {
        let id = u128::from_be_bytes(*device);
        self.devices.binary_search(device).is_ok()
            || self.prefixes.iter().any(|prefix| id & prefix.mask == prefix.bits)
    }
}

impl Prefix {
    /// 1 to 32 hexadecimal digits.
    fn parse(digits: &str) -> Option<Self> {
        let length = u32::try_from(digits.len()).ok().filter(|length| (1..=32).contains(length))?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let below = 128 - 4 * length;
        let bits = u128::from_str_radix(digits, 16).ok()? << below;
        Some(Self { bits, mask: u128::MAX << below })
    }
}

/// Names one certificate among all of all authorities: a digest of its issuer and its serial number.
pub(crate) type CertificateId = [u8; 16];

/// What a session remembers of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) id: CertificateId,
    /// The last second in which it is valid, in unix seconds.
    pub(crate) not_after_s: u64,
}

/// What a session has shown of who its peer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing, because nothing is asked.
    #[default]
    None,
    /// A certificate.
    Certificate(Credential),
    /// The token with this digest.
    Token { device: [u8; 16], digest: [u8; 32] },
}

/// Reads the leaf of a peer whose chain was verified.
pub(crate) fn read(leaf: &CertificateDer<'_>) -> Result<(Scope, Credential), Refusal> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return Err(Refusal::NoDevice);
    };
    let id = certificate_id(certificate.issuer().as_raw(), certificate.raw_serial());
    let not_after_s = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok((scope_of(&certificate)?, Credential { id, not_after_s }))
}

/// The id of the certificate with this serial number, of the issuer with this name (DER).
pub(crate) fn certificate_id(issuer: &[u8], serial: &[u8]) -> CertificateId {
    // The name carries its own length, so that no two pairs run together to the same bytes.
    let whole = digest(&SHA256, &[issuer, serial].concat());
    *whole.as_ref().first_chunk().expect("16 of 32 bytes")
}

/// The id of a certificate; `None` when it is malformed.
pub(crate) fn id(certificate: &CertificateDer<'_>) -> Option<CertificateId> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate_id(certificate.issuer().as_raw(), certificate.raw_serial()))
}

/// The first and the last second in which a certificate is valid, in unix seconds; `None` when it is malformed.
#[must_use]
pub fn certificate_validity_s(certificate: &CertificateDer<'_>) -> Option<(u64, u64)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let from_s = u64::try_from(validity.not_before.timestamp()).unwrap_or(0);
    Some((from_s, u64::try_from(validity.not_after.timestamp()).ok()?))
}

/// SHA-256 of a certificate, by which a page names the one that its browser shall trust.
#[must_use]
pub fn certificate_sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    *digest(&SHA256, certificate).as_ref().first_chunk().expect("32 of 32 bytes")
}

fn scope_of(certificate: &X509Certificate<'_>) -> Result<Scope, Refusal> {
    let (mut many, mut names) = (Many::default(), 0);
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension()
        else {
            continue;
        };
        names += alternative.general_names.len();
        if names > NAMES_MAX {
            return Err(Refusal::NoDevice);
        }
        for name in &alternative.general_names {
            let GeneralName::URI(uri) = name else { continue };
            if *uri == "urn:pollux:gateway:*" {
                return Ok(Scope::All);
            } else if let Some(device) = device_of(uri) {
                many.devices.push(device);
            } else if let Some(digits) = uri.strip_prefix("urn:pollux:prefix:") {
                many.prefixes.extend(Prefix::parse(digits));
            }
        }
    }
    many.devices.sort_unstable();
    many.devices.dedup();
    match (many.devices.as_slice(), many.prefixes.as_slice()) {
        ([], []) => Err(Refusal::NoDevice),
        ([device], []) => Ok(Scope::Device(*device)),
        _ => Ok(Scope::Many(Box::new(many))),
    }
}

/// The device of a `urn:uuid:`, whose scheme is written in either case (RFC 8141, section 3.1).
fn device_of(uri: &str) -> Option<[u8; 16]> {
    let (scheme, text) = uri.split_at_checked("urn:uuid:".len())?;
    let uuid = scheme.eq_ignore_ascii_case("urn:uuid:") && text.len() == 36;
    uuid.then(|| text.parse::<DeviceId>().ok()).flatten().map(|device| device.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn scope(uris: &[&str]) -> Result<Scope, Refusal> {
        let mut params = CertificateParams::new(vec!["a.host".to_owned()]).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names.extend(uris.iter().map(uri));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        read(certificate.der()).map(|(scope, _)| scope)
    }

    fn device(first: u8) -> [u8; 16] {
        let mut id = [0x11; 16];
        id[0] = first;
        id
    }

    const UUID: &str = "a0111111-1111-1111-1111-111111111111";

    #[test]
    fn a_device_writes_for_itself_only() {
        let scope = scope(&[&format!("urn:uuid:{UUID}")]).unwrap();
        assert_eq!(scope, Scope::Device(device(0xa0)));
        assert!(scope.allows(&device(0xa0)) && !scope.allows(&device(0xa1)));
    }

    #[test]
    fn a_gateway_writes_for_its_list_and_its_prefixes() {
        let own = format!("URN:UUID:{}", UUID.to_uppercase());
        let scope = scope(&[&own, "urn:pollux:prefix:B01", "urn:pollux:prefix:c"]).unwrap();
        for (first, allowed) in [(0xa0, true), (0xb0, true), (0xb1, false), (0xc7, true)] {
            assert_eq!(scope.allows(&device(first)), allowed, "{first:x}");
        }
        assert!(!scope.allows(&[0xb0; 16]), "the third digit counts too");
    }

    #[test]
    fn the_star_grants_all_and_an_unproved_peer_nothing() {
        assert_eq!(scope(&["urn:pollux:gateway:*"]), Ok(Scope::All));
        for unproved in [Scope::Unknown, Scope::Nobody] {
            assert!(!unproved.allows(&device(0)));
        }
    }

    #[test]
    fn names_that_are_not_understood_grant_nothing() {
        let digits = "0123456789abcdef0123456789abcdef0";
        for odd in [
            "urn:pollux:gateway:",
            "urn:pollux:gateway:**",
            "urn:pollux:prefix:",
            "urn:pollux:prefix:xy",
            "urn:pollux:prefix:+1",
            &format!("urn:pollux:prefix:{digits}"),
            "urn:uuid:a0111111",
            "urn:uuid:a0111111111111111111111111111111",
            "http://a0111111-1111-1111-1111-111111111111",
        ] {
            assert_eq!(scope(&[odd]), Err(Refusal::NoDevice), "{odd}");
        }
        assert_eq!(scope(&[]), Err(Refusal::NoDevice));
        assert_eq!(read(&CertificateDer::from(vec![1, 2, 3])), Err(Refusal::NoDevice));
    }

    #[test]
    fn a_whole_uuid_is_a_prefix_too() {
        let whole = UUID.replace('-', "");
        let scope = scope(&[&format!("urn:pollux:prefix:{whole}")]).unwrap();
        assert!(scope.allows(&device(0xa0)) && !scope.allows(&device(0xa1)));
    }

    #[test]
    fn a_certificate_with_too_many_names_is_refused() {
        let uris: Vec<String> =
            (0..NAMES_MAX).map(|n| format!("urn:pollux:prefix:{n:08x}")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        assert!(scope(&uris[1..]).is_ok(), "a host name is one of them");
        assert_eq!(scope(&uris), Err(Refusal::NoDevice));
    }
}
