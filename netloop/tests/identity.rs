//! Who may come in, and what it may write: each way to be refused is tried over QUIC, and leaves its count.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::slice::from_ref;
use std::time::Duration;

use bytes::Bytes;
use link::{DEVICE, Pair, Weather, hello, numbered, payload};
use netloop::{
    ClientAuth, ClientIdentity, CloseReason, Engine, Now, Phase, Refusal, Renewal, ServerTls,
    SessionEvent, SessionLimits, StreamPriority, Tokens, Trust, client_tls_as,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use wire::{CloseCode, Command, DeviceId, Operation, Reading, Record, SensorType, Tier, Token};

const LIMIT: Duration = Duration::from_secs(20);
const SECRET: &[u8] = b"secret of a device of ours";
const STRANGER: DeviceId = DeviceId(*b"a device of them");
const OURS: &str = "urn:uuid:61206465-7669-6365-206f-66206f757273";

/// An authority that signs whatever a test asks for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate to be made.
struct Wish<'a> {
    uris: &'a [&'a str],
    serial: u8,
    not_after_year: i32,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self { uris: &[OURS], serial: 1, not_after_year: 2100 }
    }
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn sign(&self, wish: &Wish<'_>) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names.extend(wish.uris.iter().map(uri));
        params.serial_number = Some(SerialNumber::from(u64::from(wish.serial)));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(wish.not_after_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    fn identity(&self, wish: &Wish<'_>) -> ClientIdentity {
        let (certificate, key) = self.sign(wish);
        ClientIdentity::from_der(vec![certificate], key)
    }

    fn revoking(&self, serials: &[u8]) -> Vec<u8> {
        let entry = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from(u64::from(*serial)),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// A server that trusts an authority, and the certificate that it shows itself.
struct Plant {
    authority: Authority,
    own: (CertificateDer<'static>, PrivateKeyDer<'static>),
    now: Now,
}

impl Plant {
    fn new() -> Self {
        let authority = Authority::new("ours");
        let own = authority.sign(&Wish { uris: &[], serial: 100, ..Wish::default() });
        Self { authority, own, now: Now::simulated() }
    }

    fn renewal(&self, trust: Trust) -> Renewal {
        let (certificate, key) = &self.own;
        let tls = ServerTls::from_der(vec![certificate.clone()], key.clone_key());
        tls.with_trust(Arc::new(trust)).into_renewal().unwrap()
    }

    fn trust(&self, auth: ClientAuth, revoked: &[u8]) -> Trust {
        let lists = [self.authority.revoking(revoked)];
        Trust::new(auth, from_ref(&self.authority.der), &lists, Tokens::default()).unwrap()
    }

    fn required(&self) -> Trust {
        self.trust(ClientAuth::Required, &[])
    }

    fn tokens(&self) -> Trust {
        let tokens = Tokens::parse(&Tokens::line(DEVICE, SECRET)).unwrap();
        Trust::new(ClientAuth::Required, from_ref(&self.authority.der), &[], tokens).unwrap()
    }

    /// A pair whose client shows `identity` and `token`, and begins to connect.
    fn pair(&self, trust: Trust, identity: Option<ClientIdentity>, token: Option<&[u8]>) -> Pair {
        let renewal = self.renewal(trust);
        let limits =
            SessionLimits { keep_alive: Some(Duration::from_secs(1)), ..SessionLimits::default() };
        let mut server = Engine::server(renewal.crypto.clone(), limits.clone(), self.now, [1; 32]);
        server.renew(self.now, renewal);
        let tls = client_tls_as(identity, [self.authority.der.clone()], wire::ALPN).unwrap();
        let mut client = Engine::client(tls, Some(hello()), limits, self.now, [2; 32]);
        if let Some(secret) = token {
            client = client.with_token(Token::new(secret).unwrap());
        }
        Pair::of_engines(1, Weather::CALM, self.now, (server, client), true)
    }

    fn with_certificate(&self, trust: Trust, wish: &Wish<'_>) -> Pair {
        self.pair(trust, Some(self.authority.identity(wish)), None)
    }
}

/// How the client's session ended.
fn end_of(pair: &mut Pair) -> CloseReason {
    let session = pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap();
    pair.run_until("an end", LIMIT, |pair| pair.client.engine.phase(session).is_none());
    assert_eq!(pair.server.engine.open_sessions(), 0);
    assert!(pair.server.sink.t1.is_empty() && pair.server.sink.t2.is_empty());
    let mut ends = pair.client.sink.events.iter().filter_map(|event| match event {
        SessionEvent::Closed { reason, .. } | SessionEvent::Failed { reason, .. } => Some(*reason),
        _ => None,
    });
    ends.next_back().expect("the client's session ended")
}

fn turned_away(pair: &Pair) -> Vec<(Refusal, u64)> {
    counted(&pair.server.engine.tally().handshakes_turned_away)
}

fn refused(pair: &Pair) -> Vec<(Refusal, u64)> {
    counted(&pair.server.engine.tally().sessions_refused)
}

fn counted(counts: &[u64; Refusal::COUNT]) -> Vec<(Refusal, u64)> {
    let all = Refusal::ALL.into_iter().zip(counts.iter().copied());
    all.filter(|(_, count)| *count > 0).collect()
}

fn of_device(device: DeviceId, seq: u32) -> Record {
    let (sensor_id, value, sensor_type) = (1, f64::from(seq), SensorType::Temperature);
    Record::encode(&Reading { device, sensor_id, value, ts_us: 1, seq, sensor_type })
}

#[test]
fn a_handshake_ends_with_the_alert_and_the_count_of_its_reason() {
    let (plant, others) = (Plant::new(), Authority::new("others"));
    let revoked = || plant.trust(ClientAuth::Required, &[7]);
    let old = Wish { not_after_year: 2020, ..Wish::default() };
    let nobody = Wish { uris: &["urn:pollux:gateway:", "https://example.org"], ..Wish::default() };
    let withdrawn = Wish { serial: 7, ..Wish::default() };
    let ours = |wish: &Wish<'_>| Some(plant.authority.identity(wish));
    let cases = [
        (plant.required(), None, 116, Refusal::NoCertificate),
        (plant.required(), Some(others.identity(&Wish::default())), 48, Refusal::Untrusted),
        (plant.required(), ours(&old), 45, Refusal::Expired),
        (revoked(), ours(&withdrawn), 44, Refusal::Revoked),
        (plant.required(), ours(&nobody), 49, Refusal::NoDevice),
        // Who shows a certificate is judged by it, whatever would be asked of it without.
        (plant.trust(ClientAuth::Optional, &[7]), ours(&withdrawn), 44, Refusal::Revoked),
        (plant.tokens(), Some(others.identity(&Wish::default())), 48, Refusal::Untrusted),
    ];
    for (trust, identity, alert, refusal) in cases {
        let mut pair = plant.pair(trust, identity, None);
        assert_eq!(end_of(&mut pair), CloseReason::Tls(alert), "{refusal:?}");
        assert_eq!(turned_away(&pair), [(refusal, 1)]);
        let tally = pair.server.engine.tally();
        assert_eq!((tally.handshakes_failed, tally.opened), (1, 0), "{refusal:?}");
        let others = (tally.handshakes_tls, tally.handshakes_timeout, tally.handshakes_other);
        assert_eq!(others, (0, 0, 0), "{refusal:?}: it failed for one reason");
    }
}

#[test]
fn to_a_client_a_session_is_confirmed_once_the_server_has_judged_its_certificate() {
    let plant = Plant::new();
    for (identity, admitted) in [(None, false), (Some(Wish::default()), true)] {
        let identity = identity.map(|wish| plant.authority.identity(&wish));
        let mut pair = plant.pair(plant.required(), identity, None);
        let address = pair.server.address;
        let session = pair.client.engine.connect(pair.now, address, "localhost").unwrap();
        let phase = |pair: &Pair| pair.client.engine.phase(session);
        let confirmed = |pair: &Pair| pair.client.engine.is_confirmed(session);
        pair.run_until("the part of the client", LIMIT, |pair| {
            assert!(!confirmed(pair), "a handshake under way");
            phase(pair) != Some(Phase::Handshake)
        });
        assert_eq!((phase(&pair), confirmed(&pair)), (Some(Phase::Open), false));
        pair.run_until("the word of the server", LIMIT, |pair| {
            confirmed(pair) || phase(pair).is_none()
        });
        assert_eq!(confirmed(&pair), admitted);
        let on_server = pair.server.sink.events.iter().find_map(|event| match event {
            SessionEvent::Opened { session, .. } => Some(*session),
            _ => None,
        });
        let server = &pair.server.engine;
        assert_eq!(on_server.is_some_and(|session| server.is_confirmed(session)), admitted);
    }
}

#[test]
fn an_authority_of_the_same_name_is_another_one() {
    let plant = Plant::new();
    let twin = Authority::new("ours");
    let mut pair = plant.pair(plant.required(), Some(twin.identity(&Wish::default())), None);
    assert!(matches!(end_of(&mut pair), CloseReason::Tls(_)));
    assert_eq!(pair.server.engine.tally().opened, 0);
}

#[test]
fn a_device_writes_for_itself_and_nothing_else_on_every_tier() {
    let plant = Plant::new();
    let mut pair = plant.with_certificate(plant.required(), &Wish::default());
    let session = pair.connect();
    let foreign = of_device(STRANGER, 0);
    let batch = payload(&[numbered(0), foreign, numbered(1), foreign]);
    pair.client.engine.send_datagram(session, Bytes::from(batch.clone())).unwrap();
    let stream = pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap();
    pair.client.engine.write_stream(session, stream, &batch).unwrap();
    pair.client.engine.finish_stream(session, stream);
    for device in [DEVICE, STRANGER] {
        let request = Command::request(of_device(device, 0), Operation::Read);
        pair.client.engine.open_command(session, request, u32::from(device == STRANGER)).unwrap();
    }
    pair.run_until("both ends of commands", LIMIT, |pair| pair.client.sink.acks.len() == 2);
    let sink = &pair.server.sink;
    assert_eq!([sink.t1.len(), sink.t2.len(), sink.t3.len()], [2, 2, 1]);
    let all = sink.t1.iter().chain(&sink.t2).chain(&sink.t3);
    assert!(all.clone().all(|slot| link::record(slot).key()[..16] == DEVICE.0));
    let tally = pair.server.engine.tally();
    assert_eq!(tally.forbidden(), [2, 2, 1]);
    for (tier, received) in [(Tier::T1, 4), (Tier::T2, 4), (Tier::T3, 2)] {
        let tier = tally.tiers[tier.index()];
        let outcomes = (tier.received, tier.shed, tier.decode_errors);
        assert_eq!(outcomes, (received, 0, 0), "every record has its outcome");
    }
    assert_eq!(pair.client.engine.phase(session), Some(Phase::Open), "it stays");
}

#[test]
fn a_foreign_record_costs_its_own_even_where_the_ring_is_full() {
    let plant = Plant::new();
    let mut pair = plant.with_certificate(plant.required(), &Wish::default());
    let session = pair.connect();
    pair.server.sink.room_t1 = 1;
    let foreign = of_device(STRANGER, 0);
    let batch = payload(&[foreign, numbered(0), foreign, numbered(1), numbered(2), foreign]);
    pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
    pair.run_for(Duration::from_secs(1));
    let tier = pair.server.engine.tally().tiers[0];
    assert_eq!((tier.received, pair.server.sink.t1.len()), (6, 1));
    assert_eq!(tier.rejected + tier.shed, 5, "{tier:?}");
    assert_eq!(tier.rejected, pair.server.engine.tally().forbidden()[0]);
}

#[test]
fn a_gateway_writes_for_its_prefix_its_list_or_all() {
    let plant = Plant::new();
    let devices = [DEVICE, STRANGER, DeviceId([0xb0; 16])];
    let cases: [(&[&str], [bool; 3]); 4] = [
        (&["urn:pollux:gateway:*"], [true; 3]),
        (&["urn:pollux:prefix:61206465766963"], [true, true, false]),
        (&[OURS, "urn:pollux:prefix:b"], [true, false, true]),
        (&["urn:pollux:prefix:b1"], [false; 3]),
    ];
    for (uris, allowed) in cases {
        let wish = Wish { uris, ..Wish::default() };
        let mut pair = plant.with_certificate(plant.required(), &wish);
        let session = pair.connect();
        for _ in 0..3 {
            let batch = payload(&devices.map(|device| of_device(device, 0)));
            pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
            pair.run_for(Duration::from_millis(50));
        }
        let count = allowed.iter().filter(|allowed| **allowed).count();
        assert_eq!(pair.server.sink.t1.len(), 3 * count, "{uris:?}");
        assert_eq!(pair.server.engine.tally().forbidden(), [9 - 3 * count as u64, 0, 0]);
    }
}

#[test]
fn without_being_asked_everybody_writes_for_all() {
    let plant = Plant::new();
    for trust in [Trust::off(), plant.trust(ClientAuth::Optional, &[])] {
        let mut pair = plant.pair(trust, None, None);
        let session = pair.connect();
        let batch = payload(&[numbered(0), of_device(STRANGER, 0)]);
        pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
        pair.run_until("both", LIMIT, |pair| pair.server.sink.t1.len() == 2);
    }
}

#[test]
fn where_a_certificate_is_optional_it_still_binds_whoever_shows_it() {
    let plant = Plant::new();
    let trust = plant.trust(ClientAuth::Optional, &[]);
    let mut pair = plant.with_certificate(trust, &Wish::default());
    let session = pair.connect();
    let batch = payload(&[numbered(0), of_device(STRANGER, 0)]);
    pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
    pair.run_until("one", LIMIT, |pair| pair.server.engine.tally().forbidden()[0] == 1);
    assert_eq!(pair.server.sink.t1.len(), 1);
}

#[test]
fn a_token_admits_the_device_of_its_hello() {
    let plant = Plant::new();
    let mut pair = plant.pair(plant.tokens(), None, Some(SECRET));
    let session = pair.connect();
    let batch = payload(&[numbered(0), of_device(STRANGER, 0)]);
    pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
    pair.run_until("one", LIMIT, |pair| pair.server.engine.tally().forbidden()[0] == 1);
    assert_eq!(pair.server.sink.t1.len(), 1);
    assert_eq!(refused(&pair), []);
}

#[test]
fn a_wrong_token_or_none_closes_the_session_and_nothing_of_it_is_read() {
    let plant = Plant::new();
    let wrong: Vec<u8> = SECRET.iter().map(|byte| byte ^ 1).collect();
    for token in [None, Some(&wrong[..]), Some(&SECRET[..16])] {
        let mut pair = plant.pair(plant.tokens(), None, token);
        let end = end_of(&mut pair);
        assert_eq!(end, CloseReason::Peer(Some(CloseCode::Unauthorized)), "{token:?}");
        assert_eq!(refused(&pair), [(Refusal::Token, 1)]);
    }
    let optional = plant.trust(ClientAuth::Optional, &[]);
    let mut pair = plant.pair(optional, None, Some(&wrong));
    assert_eq!(end_of(&mut pair), CloseReason::Peer(Some(CloseCode::Unauthorized)));
}

#[test]
fn before_its_token_a_device_is_not_heard() {
    let plant = Plant::new();
    let renewal = plant.renewal(plant.tokens());
    let limits =
        SessionLimits { keep_alive: Some(Duration::from_secs(1)), ..SessionLimits::default() };
    let mut server = Engine::server(renewal.crypto.clone(), limits.clone(), plant.now, [1; 32]);
    server.renew(plant.now, renewal);
    let tls = client_tls_as(None, [plant.authority.der.clone()], wire::ALPN).unwrap();
    let client = Engine::client(tls, None, limits, plant.now, [2; 32]);
    let mut pair = Pair::of_engines(1, Weather::CALM, plant.now, (server, client), false);
    let session = pair.connect();
    pair.client.engine.send_datagram(session, Bytes::from(payload(&[numbered(0)]))).unwrap();
    let request = Command::request(numbered(0), Operation::Read);
    pair.client.engine.open_command(session, request, 0).unwrap();
    pair.run_for(Duration::from_secs(2));
    let sink = &pair.server.sink;
    assert_eq!([sink.t1.len(), sink.t2.len(), sink.t3.len()], [0; 3]);
    assert_eq!(pair.server.engine.tally().forbidden(), [1, 0, 0]);
    assert_eq!(pair.server.engine.phase(pair.server_session()), Some(Phase::Open));
    // Keep-alives do not help it over the time that it has.
    pair.run_until("its end", LIMIT, |pair| pair.client.engine.phase(session).is_none());
    assert_eq!(refused(&pair), [(Refusal::Token, 1)]);
}

#[test]
fn a_revoked_device_is_out_at_once_and_the_others_stay() {
    let plant = Plant::new();
    let mut pair = plant.with_certificate(plant.required(), &Wish { serial: 7, ..Wish::default() });
    let session = pair.connect();
    pair.server.engine.renew(pair.now, plant.renewal(plant.trust(ClientAuth::Required, &[6, 8])));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.engine.phase(session), Some(Phase::Open), "others are revoked");
    let before = pair.now;
    pair.server.engine.renew(pair.now, plant.renewal(plant.trust(ClientAuth::Required, &[7])));
    pair.run_until("its end", LIMIT, |pair| pair.server.engine.open_sessions() == 0);
    assert_eq!(pair.now.unix_ns, before.unix_ns, "it is closed in the same turn");
    pair.run_until("the news", LIMIT, |pair| pair.client.engine.phase(session).is_none());
    let revoked = CloseReason::Peer(Some(CloseCode::Revoked));
    let told = |event: &SessionEvent| matches!(event, SessionEvent::Closed { reason, .. } if *reason == revoked);
    assert!(pair.client.sink.events.iter().any(told));
    assert_eq!(refused(&pair), [(Refusal::Revoked, 1)]);
    // It does not come back, neither by a handshake nor by what it remembers of the last one.
    assert_eq!(end_of(&mut pair), CloseReason::Tls(44));
}

#[test]
fn a_chain_is_refused_for_its_length_before_it_is_read() {
    let plant = Plant::new();
    let other = Authority::new("of others");
    for (fillers, end) in [(3, None), (4, Some(CloseReason::Tls(48)))] {
        let (leaf, key) = plant.authority.sign(&Wish::default());
        let chain = [vec![leaf], vec![other.der.clone(); fillers]].concat();
        let identity = ClientIdentity::from_der(chain, key);
        let mut pair = plant.pair(plant.required(), Some(identity), None);
        match end {
            None => drop(pair.connect()),
            Some(end) => assert_eq!(end_of(&mut pair), end),
        }
    }
}

#[test]
fn what_an_authority_between_has_signed_goes_with_it() {
    let plant = Plant::new();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "between");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(SerialNumber::from(50));
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, &plant.authority.issuer).unwrap().der().clone();
    let between = Authority { issuer: Issuer::new(params, key), der: der.clone() };
    for (revoked, end) in [(49, None), (50, Some(CloseReason::Tls(44)))] {
        let (leaf, key) = between.sign(&Wish::default());
        let identity = ClientIdentity::from_der(vec![leaf, der.clone()], key);
        let trust = plant.trust(ClientAuth::Required, &[revoked]);
        let mut pair = plant.pair(trust, Some(identity), None);
        match end {
            None => drop(pair.connect()),
            Some(end) => assert_eq!(end_of(&mut pair), end),
        }
    }
}

#[test]
fn a_device_says_hello_under_its_own_name_only() {
    let plant = Plant::new();
    let other = "urn:uuid:00000000-0000-0000-0000-000000000001";
    let mut pair =
        plant.with_certificate(plant.required(), &Wish { uris: &[other], ..Wish::default() });
    assert_eq!(end_of(&mut pair), CloseReason::Peer(Some(CloseCode::Forbidden)));
}

#[test]
fn the_name_of_a_gateway_is_proven_only_where_its_certificate_has_it() {
    let plant = Plant::new();
    let own = ["urn:pollux:prefix:00", OURS];
    for (uris, expected) in [(&own[..1], false), (&own, true), (&["urn:pollux:gateway:*"], true)] {
        let mut pair = plant.with_certificate(plant.required(), &Wish { uris, ..Wish::default() });
        pair.connect();
        let hello = |event: &SessionEvent| match event {
            SessionEvent::Hello { proven, .. } => Some(*proven),
            _ => None,
        };
        pair.run_until("a hello", LIMIT, |pair| {
            pair.server.sink.events.iter().any(|e| hello(e).is_some())
        });
        let proven = pair.server.sink.events.iter().find_map(hello);
        assert_eq!(proven, Some(expected), "{uris:?}");
    }
}

#[test]
fn sessions_outlive_a_new_certificate_of_the_server() {
    let mut plant = Plant::new();
    let mut pair = plant.with_certificate(plant.required(), &Wish::default());
    let session = pair.connect();
    plant.own = plant.authority.sign(&Wish { uris: &[], serial: 101, ..Wish::default() });
    pair.server.engine.renew(pair.now, plant.renewal(plant.required()));
    pair.client.engine.send_datagram(session, Bytes::from(payload(&[numbered(0)]))).unwrap();
    pair.run_until("a record", LIMIT, |pair| pair.server.sink.t1.len() == 1);
    let second = pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap();
    pair.run_until("another session", LIMIT, |pair| {
        pair.client.engine.phase(second) == Some(Phase::Open)
            && pair.server.engine.open_sessions() == 2
    });
    assert_eq!(refused(&pair), []);
}

#[test]
fn sessions_of_an_authority_that_is_trusted_no_longer_end() {
    let (plant, others) = (Plant::new(), Authority::new("others"));
    for (authorities, stays) in [
        (vec![others.der.clone(), plant.authority.der.clone()], true),
        (vec![others.der.clone()], false),
    ] {
        let mut pair = plant.with_certificate(plant.required(), &Wish::default());
        let session = pair.connect();
        let trust = Trust::new(ClientAuth::Required, &authorities, &[], Tokens::default()).unwrap();
        pair.server.engine.renew(pair.now, plant.renewal(trust));
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.client.engine.phase(session).is_some(), stays);
        let expected = if stays { vec![] } else { vec![(Refusal::Untrusted, 1)] };
        assert_eq!(refused(&pair), expected);
    }
}

#[test]
fn a_handshake_under_way_meets_the_authorities_of_its_end() {
    let (plant, others) = (Plant::new(), Authority::new("others"));
    for (authority, stays) in [(&plant.authority, true), (&others, false)] {
        let mut pair = plant.with_certificate(plant.required(), &Wish::default());
        let session = pair.client.engine.connect(pair.now, pair.server.address, "localhost");
        let session = session.unwrap();
        pair.run_until("its first flight", LIMIT, |pair| pair.server.engine.ids().count() == 1);
        assert_eq!(pair.server.engine.open_sessions(), 0);
        let trust =
            Trust::new(ClientAuth::Required, from_ref(&authority.der), &[], Tokens::default());
        pair.server.engine.renew(pair.now, plant.renewal(trust.unwrap()));
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.client.engine.phase(session).is_some(), stays);
        assert_eq!(pair.server.engine.open_sessions(), u64::from(stays));
    }
}

/// Two devices call at the same time, of which a turn lets one begin: the other one waits while its authority goes.
#[test]
fn a_handshake_that_waits_meets_the_authorities_of_its_begin() {
    let (plant, others) = (Plant::new(), Authority::new("others"));
    for (authority, stay) in [(&plant.authority, 2), (&others, 0)] {
        let mut pair = plant.with_certificate(plant.required(), &Wish::default());
        for _ in 0..2 {
            let address = pair.server.address;
            pair.client.engine.connect(pair.now, address, "localhost").unwrap();
        }
        pair.run_until("the first one", LIMIT, |pair| pair.server.engine.ids().count() == 1);
        let trust =
            Trust::new(ClientAuth::Required, from_ref(&authority.der), &[], Tokens::default());
        pair.server.engine.renew(pair.now, plant.renewal(trust.unwrap()));
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.server.engine.open_sessions(), stay);
        let alert = |event: &&SessionEvent| matches!(event, SessionEvent::Failed { reason, .. } | SessionEvent::Closed { reason, .. } if *reason == CloseReason::Tls(48));
        let alerts = pair.client.sink.events.iter().filter(alert).count();
        assert_eq!(alerts, usize::from(stay == 0), "the other one is told by the close code");
    }
}

#[test]
fn all_sessions_are_judged_again_however_many_there_are() {
    let plant = Plant::new();
    let mut pair = plant.with_certificate(plant.required(), &Wish { serial: 7, ..Wish::default() });
    for _ in 0..300 {
        let address = pair.server.address;
        pair.client.engine.connect(pair.now, address, "localhost").unwrap();
    }
    pair.run_until("all of them", LIMIT, |pair| pair.server.engine.open_sessions() == 300);
    pair.server.engine.renew(pair.now, plant.renewal(plant.trust(ClientAuth::Required, &[7])));
    assert!(pair.server.engine.is_backlogged(), "a worker does not rest before all are judged");
    pair.run_until("their end", LIMIT, |pair| pair.server.engine.open_sessions() == 0);
    assert_eq!(refused(&pair), [(Refusal::Revoked, 300)]);
    assert!(!pair.server.engine.is_backlogged());
}

#[test]
fn a_token_that_is_withdrawn_ends_its_session() {
    let plant = Plant::new();
    let mut pair = plant.pair(plant.tokens(), None, Some(SECRET));
    let session = pair.connect();
    pair.server.engine.renew(pair.now, plant.renewal(plant.tokens()));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.engine.phase(session), Some(Phase::Open));
    pair.server.engine.renew(pair.now, plant.renewal(plant.required()));
    pair.run_until("its end", LIMIT, |pair| pair.client.engine.phase(session).is_none());
    assert_eq!(refused(&pair), [(Refusal::Token, 1)]);
}

#[test]
fn a_session_ends_when_its_certificate_expires() {
    let mut plant = Plant::new();
    // Thirty seconds before the year 2100, in which the certificate is valid no longer.
    plant.now.unix_ns = (4_102_444_800 - 30) * 1_000_000_000;
    let mut pair = plant.with_certificate(plant.required(), &Wish::default());
    let session = pair.connect();
    pair.run_for(Duration::from_secs(25));
    assert_eq!(pair.client.engine.phase(session), Some(Phase::Open));
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.client.engine.phase(session), None);
    assert_eq!(refused(&pair), [(Refusal::Expired, 1)]);
}

#[test]
fn lists_of_strangers_and_of_garbage_are_refused() {
    let (plant, others) = (Plant::new(), Authority::new("others"));
    let twin = Authority::new("ours");
    for list in [others.revoking(&[7]), twin.revoking(&[7]), vec![1, 2, 3]] {
        let lists = [plant.authority.revoking(&[]), list];
        let trust = Trust::new(
            ClientAuth::Required,
            from_ref(&plant.authority.der),
            &lists,
            Tokens::default(),
        );
        let refused = matches!(trust, Err(netloop::TlsError::RevocationList { index: 1 }));
        assert!(refused, "{trust:?}");
    }
}
