//! Whom a server trusts: authorities, revoked certificates and tokens.
//!
//! A [`Trust`] never changes: a new one takes its place (`audit.rs`), so that no thread waits for another. The
//! revocation lists are verified when they are read, by whoever makes the trust; a handshake then only searches a sorted
//! list. Refuses lists and tokens that it cannot read whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use subtle::ConstantTimeEq;
use wire::DeviceId;
use x509_parser::parse_x509_crl;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::TlsError;
use crate::identity::{self, CertificateId, Credential, Proof, Refusal};
use crate::tls::{provider, root_store};

/// What is asked of a peer. PROTOCOL.md#identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// A certificate, or a token where there are tokens.
    #[default]
    Required,
    /// A certificate is asked for; a peer without one writes for every device.
    Optional,
    /// Nothing: every peer writes for every device.
    Off,
}

impl ClientAuth {
    /// All modes, the strictest first.
    pub const ALL: [Self; 3] = [Self::Required, Self::Optional, Self::Off];

    /// The name that configuration and metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Off => "off",
        }
    }
}

/// What a server knows of the peers that it trusts. The default trusts everybody with everything.
#[derive(Debug)]
pub struct Trust {
    pub(crate) auth: ClientAuth,
    pub(crate) tokens: Tokens,
    /// Sorted.
    revoked: Vec<CertificateId>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// A digest of the authorities, to see whether another trust has others.
    authorities: [u8; 32],
}

impl Trust {
    /// Asks nothing of anybody.
    #[must_use]
    pub fn off() -> Self {
        Self {
            auth: ClientAuth::Off,
            tokens: Tokens::default(),
            revoked: Vec::new(),
            verifier: None,
            authorities: [0; 32],
        }
    }

    /// Trusts devices whose certificate one of `authorities` has signed and none of `lists` revokes (DER), and those that
    /// know a token.
    ///
    /// # Errors
    /// There is no authority or one cannot be a root; a list is malformed, or signed by none of the authorities.
    pub fn new(
        auth: ClientAuth,
        authorities: &[CertificateDer<'static>],
        lists: &[Vec<u8>],
        tokens: Tokens,
    ) -> Result<Self, TlsError> {
        if auth == ClientAuth::Off {
            return Ok(Self::off());
        }
        let roots = Arc::new(root_store(authorities.iter().cloned())?);
        let revoked = revoked(authorities, lists)?;
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        // With tokens, a peer without a certificate is judged by its hello instead.
        if auth == ClientAuth::Optional || !tokens.is_empty() {
            builder = builder.allow_unauthenticated();
        }
        let chains = builder.build().expect("there is a root because the store was just filled");
        let verifier = Arc::new(ShortChains { chains, devices: Some(revoked.clone()) });
        let whole: Vec<u8> = authorities.iter().flat_map(|authority| authority.to_vec()).collect();
        let whole = digest(&SHA256, &whole);
        let authorities = *whole.as_ref().first_chunk().expect("32 of 32 bytes");
        Ok(Self { auth, tokens, revoked, verifier: Some(verifier), authorities })
    }

    /// The mode.
    #[must_use]
    pub const fn auth(&self) -> ClientAuth {
        self.auth
    }

    /// Devices that have a token.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens.entries.len()
    }

    /// Certificates that are revoked.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.revoked.len()
    }

    pub(crate) fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.verifier.clone()
    }

    pub(crate) fn has_authorities_of(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }

    /// Whether what a session has shown still holds, without a look at signatures.
    pub(crate) fn check(&self, proof: &Proof, unix_s: u64) -> Result<(), Refusal> {
        match proof {
            Proof::None => Ok(()),
            Proof::Token { device, digest } => {
                let known = self.tokens.find(*device).is_some_and(|kept| kept == digest);
                if known { Ok(()) } else { Err(Refusal::Token) }
            }
            Proof::Certificate(credential) if self.is_revoked(credential) => Err(Refusal::Revoked),
            Proof::Certificate(credential) if unix_s > credential.not_after_s => {
                Err(Refusal::Expired)
            }
            Proof::Certificate(_) => Ok(()),
        }
    }

    fn is_revoked(&self, credential: &Credential) -> bool {
        self.revoked.binary_search(&credential.id).is_ok()
    }

    /// Verifies a chain from its signatures up. It costs a handshake's share of that.
    pub(crate) fn verify(&self, chain: &[CertificateDer<'_>], unix_s: u64) -> Result<(), Refusal> {
        let (Some(verifier), Some((leaf, between))) = (&self.verifier, chain.split_first()) else {
            return Err(Refusal::NoCertificate);
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(unix_s));
        match verifier.verify_client_cert(leaf, between, now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(CertificateError::Revoked)) => Err(Refusal::Revoked),
            Err(_) => Err(Refusal::Untrusted),
        }
    }
}

/// The ids of what the lists revoke, sorted. Every list must be signed by one of the authorities.
fn revoked(
    authorities: &[CertificateDer<'static>],
    lists: &[Vec<u8>],
) -> Result<Vec<CertificateId>, TlsError> {
    let mut revoked = Vec::new();
    for (index, der) in lists.iter().enumerate() {
        let (_, list) = parse_x509_crl(der).map_err(|_| TlsError::RevocationList { index })?;
        let signs = |authority: &CertificateDer<'_>| {
            X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
                authority.subject().as_raw() == list.issuer().as_raw()
                    && list.verify_signature(authority.public_key()).is_ok()
            })
        };
        if !authorities.iter().any(signs) {
            return Err(TlsError::RevocationList { index });
        }
        let issuer = list.issuer().as_raw();
        let ids = list.iter_revoked_certificates();
        revoked.extend(ids.map(|entry| identity::certificate_id(issuer, entry.raw_serial())));
    }
    revoked.sort_unstable();
    Ok(revoked)
}

/// Certificates between a leaf and its authority, at most. The search for a path tries them in every order, and so many made for
/// it keep a worker busy for a second: longer chains are refused before anything of them is read.
const BETWEEN_MAX: usize = 3;

/// The same verifier for short chains only: longer ones are not read.
#[must_use]
pub fn short_chains(chains: Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier> {
    Arc::new(ShortChains { chains, devices: None })
}

/// Verifies the chain if it is short; for devices then that nothing in it is revoked and that the leaf names a device.
#[derive(Debug)]
struct ShortChains {
    chains: Arc<dyn ClientCertVerifier>,
    /// What is revoked, where it is devices that come.
    devices: Option<Vec<CertificateId>>,
}

impl ClientCertVerifier for ShortChains {
    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if between.len() > BETWEEN_MAX {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let verified = self.chains.verify_client_cert(leaf, between, now)?;
        let Some(revoked) = &self.devices else { return Ok(verified) };
        // The alert of this error is access_denied, of which PROTOCOL.md#identity tells the peer.
        let (_, credential) = identity::read(leaf)
            .map_err(|_| Error::from(CertificateError::ApplicationVerificationFailure))?;
        let ids = between.iter().filter_map(identity::id).chain([credential.id]);
        match ids.into_iter().any(|id| revoked.binary_search(&id).is_ok()) {
            true => Err(CertificateError::Revoked.into()),
            false => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Digests of the tokens of devices that have no certificate.
///
/// A token is long and random, so that one SHA-256 keeps it: nobody can try all of them, and a worker that derives a key
/// slowly for every stranger would be a gift to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Sorted by device; a device has one.
    entries: Vec<([u8; 16], [u8; 32])>,
}

/// Why a list of tokens cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: must be a device UUID and the SHA-256 of its token in 64 hexadecimal digits")]
pub struct TokensError {
    /// The line, from 1.
    pub line: usize,
}

impl Tokens {
    /// Reads one device and one digest from each line; `#` begins a comment.
    ///
    /// # Errors
    /// A line is neither, or names a device again.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut entries = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default();
            let mut words = text.split_whitespace();
            let Some(device) = words.next() else { continue };
            let entry = device.parse::<DeviceId>().ok().zip(words.next().and_then(digest_of_hex));
            let Some((device, digest)) = entry.filter(|_| words.next().is_none()) else {
                return Err(TokensError { line });
            };
            if entries.insert(device.0, digest).is_some() {
                return Err(TokensError { line });
            }
        }
        Ok(Self { entries: entries.into_iter().collect() })
    }

    /// The line that admits a device with this token.
    #[must_use]
    pub fn line(device: DeviceId, token: &[u8]) -> String {
        let digest = digest(&SHA256, token);
        let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{device} {digits}")
    }

    /// True when no device has a token.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the token of the device proves; nothing when it is wrong. That takes as long as when it is right, also for a
    /// device without one.
    pub(crate) fn prove(&self, device: DeviceId, token: &[u8]) -> Option<Proof> {
        let shown = digest(&SHA256, token);
        let kept = self.find(device.0);
        let digest = *kept.unwrap_or(&[0; 32]);
        let right = bool::from(digest.ct_eq(shown.as_ref())) && kept.is_some();
        right.then_some(Proof::Token { device: device.0, digest })
    }

    fn find(&self, device: [u8; 16]) -> Option<&[u8; 32]> {
        let at = self.entries.binary_search_by_key(&device, |entry| entry.0).ok()?;
        Some(&self.entries[at].1)
    }
}

fn digest_of_hex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId([0x22; 16]);

    #[test]
    fn a_token_admits_its_own_device_only() {
        let line = Tokens::line(DEVICE, b"secret of a metr");
        let tokens = Tokens::parse(&format!("# plant 7\n\n{line} # the meter\n")).unwrap();
        assert!(tokens.prove(DEVICE, b"secret of a metr").is_some());
        assert_eq!(tokens.prove(DEVICE, b"secret of a mete"), None);
        assert_eq!(tokens.prove(DEVICE, b""), None);
        assert_eq!(tokens.prove(DeviceId([0x23; 16]), b"secret of a metr"), None);
        assert!(!line.contains("secret"), "{line}");
    }

    #[test]
    fn a_list_that_cannot_be_read_whole_is_refused_with_its_line() {
        let good = Tokens::line(DEVICE, b"secret of a metr");
        let digest = good.split_once(' ').unwrap().1;
        for bad in [
            format!("{DEVICE}"),
            format!("{DEVICE} {}", &digest[1..]),
            format!("{DEVICE} {digest} more"),
            format!("{DEVICE} {}", digest.replace(&digest[..1], "g")),
            format!("seven {digest}"),
            good.clone(),
        ] {
            let text = format!("{good}\n{bad}\n");
            assert_eq!(Tokens::parse(&text), Err(TokensError { line: 2 }), "{bad}");
        }
        assert!(Tokens::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_digest_of_zeros_admits_nobody_else() {
        let tokens = Tokens::parse(&format!("{DEVICE} {}", "0".repeat(64))).unwrap();
        assert_eq!(tokens.prove(DeviceId([1; 16]), &[0; 32]), None);
    }
}
