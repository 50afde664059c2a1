//! The authority: makes itself, signs holders, and signs the list of what it revokes.

use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{CertsError, Folder, Grant, Holder, reading};

/// How long an authority lasts, in days: ten years, the life of a machine.
pub const AUTHORITY_DAYS: u64 = 3650;
/// How long a server's or a device's certificate lasts, in days.
pub const LEAF_DAYS: u64 = 825;
/// Certificates begin this long before they are made, because a board without a battery starts with a
/// clock that is behind.
const BACKDATED_DAYS: u64 = 1;
const DAY_S: u64 = 86_400;
/// How long a certificate lasts that a page names by its hash. Browsers take none that lasts longer than fourteen days, one
/// of which lies before it was made.
pub const BROWSER_DAYS: u64 = 12;

/// What browsers are shown: a certificate that signs itself, and its key.
#[derive(Debug)]
pub struct BrowserPair {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// Makes what browsers are shown from now on.
///
/// # Errors
/// Key generation or signing failed.
pub fn browser_pair(now_unix_s: u64) -> Result<BrowserPair, CertsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = named("Pollux for browsers");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    valid_for(&mut params, now_unix_s, BROWSER_DAYS);
    let certificate = params.self_signed(&key)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok(BrowserPair { certificate, key })
}

/// Something that signs.
pub(super) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// A new one, and its certificate.
    pub(super) fn new(now_unix_s: u64) -> Result<(Self, Certificate), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = named("Pollux development authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, now_unix_s, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?;
        Ok((Self(Issuer::new(params, key)), certificate))
    }

    /// A new one, in its folder.
    pub(super) fn make(folder: &mut Folder, now_unix_s: u64) -> Result<Self, CertsError> {
        let (authority, certificate) = Self::new(now_unix_s)?;
        folder.write_pair("ca", &authority.0.key().serialize_pem(), &certificate.pem())?;
        Ok(authority)
    }

    /// The one of a folder.
    pub(super) fn read(folder: &Folder) -> Result<Self, CertsError> {
        let (path, text) = folder.read("ca.key")?;
        let key =
            KeyPair::from_pem(&text).map_err(|reason| CertsError::Authority { path, reason })?;
        let (path, text) = folder.read("ca.pem")?;
        let issuer = Issuer::from_ca_cert_pem(&text, key);
        issuer.map(Self).map_err(|reason| CertsError::Authority { path, reason })
    }

    /// A certificate with a key of its own.
    pub(super) fn sign(
        &self,
        grant: &Grant,
        now_unix_s: u64,
    ) -> Result<(Certificate, KeyPair), CertsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = named(&grant.holder.common_name());
        params.subject_alt_names.clone_from(&grant.names);
        params.extended_key_usages = match grant.holder {
            Holder::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Holder::Device(_) | Holder::Gateway(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, now_unix_s, LEAF_DAYS);
        Ok((params.signed_by(&key, &self.0)?, key))
    }

    /// Signs a certificate for a holder and writes it and its key in place of what is there, and a copy that stays. The copy
    /// comes first: nobody has a certificate that a revocation of its holder does not reach.
    pub(super) fn issue(
        &self,
        folder: &mut Folder,
        grant: &Grant,
        now_unix_s: u64,
    ) -> Result<(), CertsError> {
        let (certificate, key) = self.sign(grant, now_unix_s)?;
        let holder = &grant.holder;
        let serial = reading::serial_of(certificate.der())
            .expect("it reads because it was written just now");
        folder.keep(holder, &serial, &certificate.pem())?;
        folder.write_pair(&holder.to_string(), &key.serialize_pem(), &certificate.pem())
    }

    /// Writes the revocation list with these serial numbers beside those that are on it; gives how many are new.
    pub(super) fn write_list(
        &self,
        folder: &mut Folder,
        serials: &[Vec<u8>],
        now_unix_s: u64,
    ) -> Result<usize, CertsError> {
        let path = folder.path("crl.pem");
        let before = if path.exists() { reading::list(&path)? } else { reading::List::default() };
        let known = before.revoked.len();
        let mut revoked = before.revoked;
        for serial in serials {
            revoked.entry(serial.clone()).or_insert(now_unix_s);
        }
        let added = revoked.len() - known;
        let date = |unix_s| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s);
        let entry = |(serial, revoked_s): (Vec<u8>, u64)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: date(revoked_s),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(now_unix_s),
            next_update: date(now_unix_s + AUTHORITY_DAYS * DAY_S),
            crl_number: SerialNumber::from(before.number + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        folder.write_list(&params.signed_by(&self.0)?.pem()?)?;
        Ok(added)
    }
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
