//! Certificates as files: chains that the TLS library accepts, modes, and what is never overwritten.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use twin::certs::{
    CertsError, Grant, Holder, LEAF_DAYS, Request, Standing, development, enroll, init, revoke,
    rotate, show, token,
};
use uuid::Uuid;

/// 2026-01-01, in seconds since 1970.
const NOW_UNIX_S: u64 = 1_767_225_600;
const DAY_S: u64 = 86_400;

fn request(folder: &Path) -> Request {
    Request { folder: folder.to_owned(), ..Request::default() }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn roots(authority: CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    Arc::new(roots)
}

fn verify_server(
    roots: Arc<RootCertStore>,
    leaf: &CertificateDer<'_>,
    name: &str,
    unix_s: u64,
) -> Result<(), Error> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::new(default_provider()))
        .build()
        .unwrap()
        .verify_server_cert(
            leaf,
            &[],
            &ServerName::try_from(name).unwrap(),
            &[],
            UnixTime::since_unix_epoch(Duration::from_secs(unix_s)),
        )
        .map(drop)
}

fn verify_device(roots: Arc<RootCertStore>, leaf: &CertificateDer<'_>) -> Result<(), Error> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW_UNIX_S));
    WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider()))
        .build()
        .unwrap()
        .verify_client_cert(leaf, &[], now)
        .map(drop)
}

#[test]
fn server_certificate_holds_for_its_names_and_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["twin.local".to_owned(), "192.168.1.20".to_owned()];
    init(&Request { names, ..request(folder.path()) }, NOW_UNIX_S).unwrap();
    let roots = roots(certificate(&folder.path().join("ca.pem")));
    let leaf = certificate(&folder.path().join("server.pem"));
    for name in ["localhost", "127.0.0.1", "::1", "twin.local", "192.168.1.20"] {
        assert_eq!(verify_server(roots.clone(), &leaf, name, NOW_UNIX_S), Ok(()), "{name}");
    }
    let elsewhere = verify_server(roots.clone(), &leaf, "example.org", NOW_UNIX_S);
    assert!(matches!(
        elsewhere,
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
    ));
    let last = NOW_UNIX_S + LEAF_DAYS * DAY_S - 1;
    assert_eq!(verify_server(roots.clone(), &leaf, "localhost", last), Ok(()));
    let behind = NOW_UNIX_S - DAY_S + 1;
    assert_eq!(verify_server(roots.clone(), &leaf, "localhost", behind), Ok(()));
    assert!(verify_server(roots.clone(), &leaf, "localhost", last + 2).is_err());
    assert!(verify_server(roots, &leaf, "localhost", behind - 2).is_err());
}

#[test]
fn another_authority_does_not_hold() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&ours, &theirs] {
        init(&request(folder.path()), NOW_UNIX_S).unwrap();
    }
    let roots = roots(certificate(&theirs.path().join("ca.pem")));
    let leaf = certificate(&ours.path().join("server.pem"));
    assert!(verify_server(roots, &leaf, "localhost", NOW_UNIX_S).is_err());
}

#[test]
fn keys_match_their_certificates_and_only_their_owner_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let device = Uuid::from_u128(7);
    let files =
        init(&Request { devices: vec![device], ..request(folder.path()) }, NOW_UNIX_S).unwrap();
    assert_eq!(files.len(), 7);
    for path in &files {
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let expected = if path.extension().unwrap() == "key" { 0o600 } else { 0o644 };
        assert_eq!(mode, expected, "{}", path.display());
    }
    for name in ["server".to_owned(), format!("device-{device}")] {
        let leaf = certificate(&folder.path().join(format!("{name}.pem")));
        let key = PrivateKeyDer::from_pem_file(folder.path().join(format!("{name}.key"))).unwrap();
        rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .expect("a key that fits its certificate");
    }
}

#[test]
fn device_certificate_names_its_uuid_and_serves_as_client_only() {
    let folder = tempfile::tempdir().unwrap();
    let device = Uuid::from_u128(0x6f0e_1c1e_8a5f_4b0e_9a57_3d1d_2f6f_5a10);
    init(&Request { devices: vec![device], ..request(folder.path()) }, NOW_UNIX_S).unwrap();
    let roots = roots(certificate(&folder.path().join("ca.pem")));
    let leaf = certificate(&folder.path().join(format!("device-{device}.pem")));
    assert_eq!(verify_device(roots.clone(), &leaf), Ok(()));
    assert!(verify_server(roots.clone(), &leaf, "localhost", NOW_UNIX_S).is_err());
    let server = certificate(&folder.path().join("server.pem"));
    assert!(verify_device(roots, &server).is_err());
    // A uniformResourceIdentifier is context tag 6 and its length, then the text.
    let urn = format!("urn:uuid:{device}");
    let name = [&[0x86, urn.len() as u8], urn.as_bytes()].concat();
    assert!(leaf.windows(name.len()).any(|window| window == name), "the URN is in the certificate");
}

#[test]
fn devices_join_an_authority_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    init(&request(folder.path()), NOW_UNIX_S).unwrap();
    let before = ["ca.pem", "ca.key", "server.pem", "server.key"]
        .map(|name| std::fs::read(folder.path().join(name)).unwrap());
    let device = Uuid::from_u128(9);
    let more = Request { devices: vec![device], ..request(folder.path()) };
    assert_eq!(init(&more, NOW_UNIX_S + 5).unwrap().len(), 2);
    let after = ["ca.pem", "ca.key", "server.pem", "server.key"]
        .map(|name| std::fs::read(folder.path().join(name)).unwrap());
    assert_eq!(before, after);
    let leaf = certificate(&folder.path().join(format!("device-{device}.pem")));
    assert_eq!(verify_device(roots(certificate(&folder.path().join("ca.pem"))), &leaf), Ok(()));
    let again = init(&more, NOW_UNIX_S);
    assert!(
        matches!(again, Err(CertsError::Exists(path)) if path.ends_with(format!("device-{device}.key")))
    );
}

#[test]
fn an_authority_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let plain = request(folder.path());
    init(&plain, NOW_UNIX_S).unwrap();
    let first = std::fs::read(folder.path().join("ca.pem")).unwrap();
    let named = Request {
        names: vec!["a.example".into()],
        devices: vec![Uuid::from_u128(1)],
        ..plain.clone()
    };
    for refused in [&plain, &named] {
        let error = init(refused, NOW_UNIX_S).expect_err("the authority is there");
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(std::fs::read(folder.path().join("ca.pem")).unwrap(), first);
    }
    init(&Request { force: true, ..named }, NOW_UNIX_S).unwrap();
    assert_ne!(std::fs::read(folder.path().join("ca.pem")).unwrap(), first);
    let roots = roots(certificate(&folder.path().join("ca.pem")));
    let leaf = certificate(&folder.path().join("server.pem"));
    assert_eq!(verify_server(roots, &leaf, "a.example", NOW_UNIX_S), Ok(()));
}

#[test]
fn names_that_no_host_has_are_refused_before_anything_is_written() {
    for name in ["", "a b", "-a.example", "a..example", "a_b", "ä.example", "x*.example"] {
        let folder = tempfile::tempdir().unwrap();
        let wrong = Request { names: vec![name.to_owned()], ..request(folder.path()) };
        assert!(matches!(init(&wrong, NOW_UNIX_S), Err(CertsError::Name { .. })), "{name:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name:?}");
    }
}

#[test]
fn a_broken_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    init(&request(folder.path()), NOW_UNIX_S).unwrap();
    std::fs::write(folder.path().join("ca.key"), "no key").unwrap();
    let more = Request { devices: vec![Uuid::from_u128(3)], ..request(folder.path()) };
    let error = init(&more, NOW_UNIX_S).expect_err("no key").to_string();
    assert!(error.contains("ca.key: not an authority that can sign"), "{error}");
}

#[test]
fn development_certificates_hold_without_a_file() {
    let certs = development(NOW_UNIX_S).unwrap();
    let leaf = CertificateDer::from(certs.server.chain_der[0].clone());
    let roots = roots(CertificateDer::from(certs.ca_der));
    assert_eq!(verify_server(roots.clone(), &leaf, "localhost", NOW_UNIX_S), Ok(()));
    assert!(PrivateKeyDer::try_from(certs.server.key_der).is_ok());
    let gateway = CertificateDer::from(certs.gateway.chain_der[0].clone());
    assert_eq!(verify_device(roots, &gateway), Ok(()));
}

#[test]
fn a_holder_is_enrolled_once_and_again_after_it_was_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    init(&request(path), NOW_UNIX_S).unwrap();
    let device = Uuid::from_u128(11);
    let grant = [Grant::device(device)];
    enroll(path, &grant, NOW_UNIX_S).unwrap();
    let first = standing(path, &format!("device-{device}"));
    assert_eq!(first.1, Standing::Valid);
    assert!(matches!(enroll(path, &grant, NOW_UNIX_S), Err(CertsError::Exists(_))));
    let holder = [Holder::Device(device)];
    assert_eq!(revoke(path, &holder, &[], NOW_UNIX_S).unwrap().1, 1);
    assert_eq!(revoke(path, &holder, &[], NOW_UNIX_S + 9).unwrap().1, 0, "nothing is left");
    assert_eq!(standing(path, &format!("device-{device}")).1, Standing::Revoked);
    enroll(path, &grant, NOW_UNIX_S).unwrap();
    let second = standing(path, &format!("device-{device}"));
    assert_eq!(second.1, Standing::Valid);
    assert_ne!(first.0, second.0, "it has another serial number");
}

#[test]
fn rotation_keeps_the_names_and_changes_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let names = vec!["twin.local".to_owned(), "192.168.1.20".to_owned()];
    init(&Request { names, gateways: vec!["plant".into()], ..request(path) }, NOW_UNIX_S).unwrap();
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    let before = ["server.key", "server.pem", "gateway-plant.key", "ca.pem"].map(read);
    let gateway = Holder::gateway("plant").unwrap();
    let old = standing(path, "gateway-plant").0;
    rotate(path, &[Holder::Server, gateway.clone()], false, NOW_UNIX_S).unwrap();
    let after = ["server.key", "server.pem", "gateway-plant.key", "ca.pem"].map(read);
    assert!((0..3).all(|at| before[at] != after[at]) && before[3] == after[3]);
    let roots = roots(certificate(&path.join("ca.pem")));
    let leaf = certificate(&path.join("server.pem"));
    for name in ["localhost", "::1", "twin.local", "192.168.1.20"] {
        assert_eq!(verify_server(roots.clone(), &leaf, name, NOW_UNIX_S), Ok(()), "{name}");
    }
    let shown = show(&[path.join("gateway-plant.pem")], NOW_UNIX_S).unwrap();
    assert_eq!(shown[0].names, ["urn:pollux:gateway:*"]);
    // The first one is still valid, until it is revoked by its serial number or with its holder.
    let kept = format!("issued/gateway-plant-{old}");
    assert!(path.join(format!("{kept}.pem")).exists());
    assert_eq!(revoke(path, &[], &[old], NOW_UNIX_S).unwrap().1, 1);
    assert_eq!(standing(path, "gateway-plant").1, Standing::Valid);
    rotate(path, std::slice::from_ref(&gateway), true, NOW_UNIX_S).unwrap();
    assert_eq!(standing(path, "gateway-plant").1, Standing::Valid);
    assert_eq!(revoke(path, &[gateway], &[], NOW_UNIX_S).unwrap().1, 1, "of three, one was left");
}

#[test]
fn a_gateway_is_not_revoked_with_one_whose_name_begins_as_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let gateways = vec!["hall".to_owned(), "hall-3".to_owned()];
    init(&Request { gateways, ..request(path) }, NOW_UNIX_S).unwrap();
    revoke(path, &[Holder::gateway("hall").unwrap()], &[], NOW_UNIX_S).unwrap();
    assert_eq!(standing(path, "gateway-hall").1, Standing::Revoked);
    assert_eq!(standing(path, "gateway-hall-3").1, Standing::Valid);
}

#[test]
fn what_no_holder_can_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    init(&request(folder.path()), NOW_UNIX_S).unwrap();
    for name in ["", "A", "a/b", "..", "a b", &"a".repeat(65)] {
        assert!(matches!(Holder::gateway(name), Err(CertsError::Gateway { .. })), "{name:?}");
    }
    for digits in ["", "g", "0x", &"0".repeat(33)] {
        let grant = Grant::gateway("a", &[], &[digits.to_owned()]);
        assert!(matches!(grant, Err(CertsError::Prefix { .. })), "{digits:?}");
    }
    for digits in ["", "1", "xy", &"00".repeat(21)] {
        let revoked = revoke(folder.path(), &[], &[digits.to_owned()], NOW_UNIX_S);
        assert!(matches!(revoked, Err(CertsError::Serial { .. })), "{digits:?}");
    }
    let stranger = [Holder::Device(Uuid::from_u128(5))];
    let unknown = revoke(folder.path(), &stranger, &[], NOW_UNIX_S);
    assert!(matches!(unknown, Err(CertsError::Unknown { .. })));
    let unknown = rotate(folder.path(), &stranger, false, NOW_UNIX_S);
    assert!(matches!(unknown, Err(CertsError::Unknown { .. })));
}

#[test]
fn a_token_is_kept_as_a_digest_and_replaced_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("tokens");
    let (device, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    std::fs::write(&list, "# plant 7\n").unwrap();
    let first = token(&list, device, &[1; 32]).unwrap();
    token(&list, other, &[2; 32]).unwrap();
    let second = token(&list, device, &[3; 32]).unwrap();
    assert_eq!((first.len(), second.len()), (64, 64));
    let text = std::fs::read_to_string(&list).unwrap();
    assert!(text.starts_with("# plant 7\n") && !text.contains(&second), "{text}");
    assert_eq!(text.matches(&device.to_string()).count(), 1, "{text}");
    netloop::Tokens::parse(&text).unwrap();
    std::fs::write(&list, "seven\n").unwrap();
    assert!(matches!(token(&list, device, &[4; 32]), Err(CertsError::Tokens { .. })));
    assert_eq!(std::fs::read_to_string(&list).unwrap(), "seven\n");
    let fresh = folder.path().join("fresh");
    token(&fresh, device, &[1; 32]).unwrap();
    assert_eq!(std::fs::metadata(&fresh).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Runs `pollux certs …` under a umask that leaves everything to the owner.
fn run_masked(args: &str) {
    let line = format!("umask 077 && exec {} certs {args}", env!("CARGO_BIN_EXE_pollux"));
    let ran = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn whoever_reads_the_list_still_reads_it_after_a_revocation_under_any_umask() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path(), Uuid::from_u128(12));
    let dir = format!("--dir {}", path.display());
    run_masked(&format!("init {dir} --device {device}"));
    let names = ["ca.pem", "crl.pem", "server.pem", "ca.key", "server.key"];
    assert_eq!(names.map(|name| mode(&path.join(name))), [0o644, 0o644, 0o644, 0o600, 0o600]);
    std::fs::set_permissions(path.join("crl.pem"), Permissions::from_mode(0o664)).unwrap();
    run_masked(&format!("revoke {dir} --device {device}"));
    assert_eq!(mode(&path.join("crl.pem")), 0o664, "as it was before");
    assert_eq!(standing(path, &format!("device-{device}")).1, Standing::Revoked);
}

#[test]
fn a_file_that_takes_the_place_of_another_is_read_by_the_same_people_and_a_key_by_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    init(&request(path), NOW_UNIX_S).unwrap();
    let (key, list) = (path.join("server.key"), path.join("crl.pem"));
    let tokens = path.join("tokens");
    token(&tokens, Uuid::from_u128(1), &[1; 32]).unwrap();
    for readable in [&key, &tokens] {
        std::fs::set_permissions(readable, Permissions::from_mode(0o644)).unwrap();
    }
    // Only root may give files away; for all others the owner stays by itself.
    let given = chown(&list, Some(65_534), Some(65_534)).is_ok();
    rotate(path, &[Holder::Server], true, NOW_UNIX_S).unwrap();
    token(&tokens, Uuid::from_u128(1), &[2; 32]).unwrap();
    assert_eq!([&key, &tokens, &list].map(|file| mode(file)), [0o640, 0o644, 0o644]);
    let found = std::fs::metadata(&list).unwrap();
    if given {
        assert_eq!((found.uid(), found.gid()), (65_534, 65_534));
    }
}

/// Does one thing for each of many devices, all at the same time.
fn at_once(devices: &[Uuid], one: impl Fn(Uuid) + Sync) {
    let start = Barrier::new(devices.len());
    std::thread::scope(|scope| {
        for device in devices {
            scope.spawn(|| {
                start.wait();
                one(*device);
            });
        }
    });
}

#[test]
fn revocations_and_tokens_that_come_at_once_are_all_on_their_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let devices: Vec<Uuid> = (1..=16).map(Uuid::from_u128).collect();
    init(&Request { devices: devices.clone(), ..request(path) }, NOW_UNIX_S).unwrap();
    at_once(&devices, |device| {
        assert_eq!(revoke(path, &[Holder::Device(device)], &[], NOW_UNIX_S).unwrap().1, 1);
    });
    for device in &devices {
        assert_eq!(standing(path, &format!("device-{device}")).1, Standing::Revoked, "{device}");
    }
    let list = path.join("tokens");
    at_once(&devices, |device| {
        token(&list, device, &[device.as_u128() as u8; 32]).unwrap();
    });
    let text = std::fs::read_to_string(&list).unwrap();
    netloop::Tokens::parse(&text).unwrap();
    for device in &devices {
        assert_eq!(text.matches(&device.to_string()).count(), 1, "{device}: {text}");
    }
}

/// Every file of a folder with its content, but for the one that only holds the lock.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file() && !path.ends_with(".lock"));
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_refused_enrolment_leaves_every_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (moved, new) = (Uuid::from_u128(13), Uuid::from_u128(14));
    init(&Request { devices: vec![moved], ..request(path) }, NOW_UNIX_S).unwrap();
    std::fs::remove_file(path.join(format!("device-{moved}.key"))).unwrap();
    let before = content(path);
    let refused = enroll(path, &[Grant::device(new), Grant::device(moved)], NOW_UNIX_S);
    assert!(matches!(refused, Err(CertsError::Exists(_))), "{refused:?}");
    let refused =
        init(&Request { devices: vec![new, moved], ..request(path) }, NOW_UNIX_S).unwrap_err();
    assert!(matches!(refused, CertsError::Exists(_)), "{refused:?}");
    assert_eq!(content(path), before);
}

#[test]
fn a_revocation_that_cannot_see_every_copy_is_an_error_and_changes_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let device = Uuid::from_u128(15);
    init(&Request { devices: vec![device], ..request(path) }, NOW_UNIX_S).unwrap();
    let before = content(path);
    std::fs::rename(path.join("issued"), path.join("aside")).unwrap();
    std::fs::write(path.join("issued"), "no folder").unwrap();
    let refused = revoke(path, &[Holder::Device(device)], &[], NOW_UNIX_S).unwrap_err();
    assert!(
        matches!(&refused, CertsError::File { path: of, .. } if *of == path.join("issued")),
        "{refused:?}"
    );
    std::fs::remove_file(path.join("issued")).unwrap();
    assert_eq!(content(path), before);
    let added = revoke(path, &[Holder::Device(device)], &[], NOW_UNIX_S).unwrap().1;
    assert_eq!(added, 1, "copies that were taken away are no error");
}

#[test]
fn a_key_without_a_certificate_is_replaced_by_an_enrolment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    init(&request(path), NOW_UNIX_S).unwrap();
    let device = Uuid::from_u128(16);
    let key = path.join(format!("device-{device}.key"));
    std::fs::write(&key, "of a pair that was cut short").unwrap();
    enroll(path, &[Grant::device(device)], NOW_UNIX_S).unwrap();
    assert!(PrivateKeyDer::from_pem_file(&key).is_ok());
    assert_eq!(standing(path, &format!("device-{device}")).1, Standing::Valid);
}

#[test]
fn an_authority_that_was_cut_short_gets_its_server_and_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    init(&request(path), NOW_UNIX_S).unwrap();
    let authority = std::fs::read(path.join("ca.pem")).unwrap();
    for name in ["server.pem", "crl.pem"] {
        std::fs::remove_file(path.join(name)).unwrap();
    }
    init(&request(path), NOW_UNIX_S).unwrap();
    assert_eq!(std::fs::read(path.join("ca.pem")).unwrap(), authority);
    assert_eq!(standing(path, "server").1, Standing::Valid);
    let whole = init(&request(path), NOW_UNIX_S);
    assert!(matches!(whole, Err(CertsError::AuthorityExists(_))), "{whole:?}");
}

#[test]
fn no_authority_is_made_beside_a_server_that_has_to_stay() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.pem"), "of another authority").unwrap();
    let before = content(folder.path());
    let refused = init(&request(folder.path()), NOW_UNIX_S);
    assert!(matches!(refused, Err(CertsError::Exists(_))), "{refused:?}");
    assert_eq!(content(folder.path()), before);
}

#[test]
fn what_an_authority_before_this_one_signed_is_not_shown_as_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let device = Uuid::from_u128(15);
    init(&Request { devices: vec![device], ..request(path) }, NOW_UNIX_S).unwrap();
    let name = format!("device-{device}");
    assert_eq!(standing(path, &name).1, Standing::Valid);
    init(&Request { force: true, ..request(path) }, NOW_UNIX_S).unwrap();
    assert_eq!(standing(path, &name).1, Standing::Foreign);
    for own in ["ca", "server"] {
        assert_eq!(standing(path, own).1, Standing::Valid, "{own}");
    }
    let shown = show(&[path.join(format!("{name}.pem"))], NOW_UNIX_S).unwrap()[0].to_string();
    assert!(shown.contains("signed by another authority"), "{shown}");
}

#[test]
fn copies_are_held_against_the_list_of_the_folder_above() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let device = Uuid::from_u128(16);
    init(&Request { devices: vec![device], ..request(path) }, NOW_UNIX_S).unwrap();
    revoke(path, &[Holder::Device(device)], &[], NOW_UNIX_S).unwrap();
    let issued = show(&[path.join("issued")], NOW_UNIX_S).unwrap();
    let standings: Vec<Standing> = issued.iter().map(|shown| shown.standing).collect();
    assert_eq!(standings, [Standing::Revoked, Standing::Valid], "device and server: {issued:?}");
    assert_eq!(issued[0].list, Some(path.join("crl.pem")));
    // The same from within, where the folder has no name.
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollux"));
    command.args(["certs", "show", "."]).current_dir(path.join("issued"));
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert_eq!(said.matches(": revoked").count(), 1, "{said}");
}

#[test]
fn a_certificate_alone_says_what_is_not_known_of_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    init(&request(from.path()), NOW_UNIX_S).unwrap();
    let alone = to.path().join("far/away/server.pem");
    std::fs::create_dir_all(alone.parent().unwrap()).unwrap();
    std::fs::copy(from.path().join("server.pem"), &alone).unwrap();
    let shown = show(&[alone], NOW_UNIX_S).unwrap().remove(0);
    assert_eq!((&shown.authority, &shown.list), (&None, &None));
    let said = shown.to_string();
    assert!(said.contains("who signed it") && said.contains("whether it is revoked"), "{said}");
}

#[test]
fn any_authority_of_a_bundle_counts_and_a_certificate_behind_another_only_if_it_signed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (root, hall) = (folder.path().join("root"), folder.path().join("hall"));
    for authority in [&root, &hall] {
        init(&request(authority), NOW_UNIX_S).unwrap();
    }
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    // Signed by `hall`, shown beside `root`: as it is, and with an authority behind it that did not sign it.
    let leaf = read(hall.join("server.pem"));
    std::fs::write(root.join("leaf.pem"), &leaf).unwrap();
    std::fs::write(root.join("chain.pem"), leaf + &read(root.join("ca.pem"))).unwrap();
    assert_eq!(standing(&root, "leaf").1, Standing::Foreign);
    assert_eq!(standing(&root, "chain").1, Standing::Foreign);
    let bundle = read(root.join("ca.pem")) + &read(hall.join("ca.pem"));
    std::fs::write(root.join("ca.pem"), bundle).unwrap();
    assert_eq!(standing(&root, "leaf").1, Standing::Valid, "one of two authorities signed it");
}

/// Serial number and standing of a certificate of the folder.
fn standing(folder: &Path, name: &str) -> (String, Standing) {
    let shown = show(&[folder.join(format!("{name}.pem"))], NOW_UNIX_S).unwrap();
    (shown[0].serial.clone(), shown[0].standing)
}
