//! Keeps each session to what its peer has proved, and ends it when the proof no longer holds.
//!
//! A server takes a new [`Renewal`] while it runs: what is offered to peers, and whom it trusts. Handshakes from then on
//! meet the new one; sessions that still hold stay, and what is revoked leaves within a few turns, since only so many are
//! looked at in each. Another set of authorities asks for signatures again, one session in a turn, because each costs as
//! much as many packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::crypto;
use rustls_pki_types::CertificateDer;
use wire::{Hello, Tier, Token};

use crate::{
    ClientAuth, Engine, Now, Refusal, SessionId, Trust,
    identity::{self, Proof, Scope},
    session::{Outcome, Phase, Session},
};

/// A session that has proved nothing is closed after so long.
const PROOF_MAX: Duration = Duration::from_secs(5);
/// Sessions judged in one turn: at a cache miss or two for each, some ten microseconds.
const SESSIONS_PER_TURN: usize = 128;
/// Renewals that may wait for the worker. One more finds a worker that stands still.
const RENEWALS_MAX: usize = 4;

/// What a server shows and whom it trusts, from now on.
#[derive(Clone)]
pub struct Renewal {
    /// The server's half of the handshake, made with the same trust.
    pub crypto: Arc<dyn crypto::ServerConfig>,
    /// Whom it trusts.
    pub trust: Arc<Trust>,
}

/// The end of a line of renewals that the worker polls.
pub struct Renewals(rtrb::Consumer<Renewal>);

/// The other end.
pub struct Renewer(rtrb::Producer<Renewal>);

/// A line of renewals to a worker.
#[must_use]
pub fn renewals() -> (Renewer, Renewals) {
    let (producer, consumer) = rtrb::RingBuffer::new(RENEWALS_MAX);
    (Renewer(producer), Renewals(consumer))
}

impl Renewer {
    /// Hands a renewal over; a worker that is gone needs none.
    ///
    /// # Errors
    /// The worker has not taken the earlier ones yet: the renewal comes back.
    pub fn push(&mut self, renewal: Renewal) -> Result<(), Renewal> {
        if self.0.is_abandoned() {
            return Ok(());
        }
        self.0.push(renewal).map_err(|rtrb::PushError::Full(renewal)| renewal)
    }
}

impl Renewals {
    /// The next renewal, if there is one.
    pub(crate) fn pop(&mut self) -> Option<Renewal> {
        self.0.pop().ok()
    }
}

/// What an engine needs to judge its sessions again.
pub(crate) struct Audit {
    pub(crate) trust: Arc<Trust>,
    /// The place of the next session that is judged by what it remembers of its proof.
    check_at: Option<usize>,
    /// The place of the next session whose signatures are verified again.
    verify_at: Option<usize>,
    /// When the first certificate of a session expires, in unix seconds.
    expiry_s: u64,
}

impl Audit {
    /// Trusts everybody: the role of a client, and of a server before its first renewal.
    pub(crate) fn new() -> Self {
        let trust = Arc::new(Trust::off());
        Self { trust, check_at: None, verify_at: None, expiry_s: u64::MAX }
    }

    /// True while sessions wait to be judged again.
    pub(crate) const fn is_running(&self) -> bool {
        self.check_at.is_some() || self.verify_at.is_some()
    }

    /// Remembers when a session that was opened expires.
    pub(crate) fn watch(&mut self, session: &Session) {
        if let Proof::Certificate(credential) = &session.proof {
            self.expiry_s = self.expiry_s.min(credential.not_after_s);
        }
    }
}

impl Engine {
    /// Shows and trusts something else from now on. Sessions whose proof does not hold any longer are closed.
    ///
    /// # Panics
    /// The engine has the client's role.
    pub fn renew(&mut self, now: Now, renewal: Renewal) {
        self.replace_crypto(renewal.crypto);
        let before = std::mem::replace(&mut self.audit.trust, renewal.trust);
        if !self.audit.trust.has_authorities_of(&before) {
            self.audit.verify_at = Some(0);
        }
        self.audit.check_at = Some(0);
        self.audit_some(now);
    }

    /// One step of what is to be judged again, if anything is.
    #[inline]
    pub(crate) fn audit(&mut self, now: Now) {
        if self.audit.is_running() || now.unix_ns / 1_000_000_000 > self.audit.expiry_s {
            self.audit_some(now);
        }
    }

    #[cold]
    fn audit_some(&mut self, now: Now) {
        let unix_s = now.unix_ns / 1_000_000_000;
        if unix_s > self.audit.expiry_s {
            // Dates of the sessions from here on are gathered anew.
            self.audit.check_at = Some(0);
            self.audit.expiry_s = u64::MAX;
        }
        if let Some(at) = self.audit.check_at {
            self.check_again(now, at, unix_s);
        } else if let Some(at) = self.audit.verify_at {
            self.verify_next(now, at, unix_s);
        }
    }

    /// Closes those of some sessions whose proof has run out or was withdrawn.
    fn check_again(&mut self, now: Now, at: usize, unix_s: u64) {
        let end = self.sessions.len().min(at + SESSIONS_PER_TURN);
        let mut away = Vec::new();
        for session in self.sessions[at..end].iter().flatten() {
            match self.audit.trust.check(&session.proof, unix_s) {
                _ if session.phase == Phase::Closed => {}
                Ok(()) => self.audit.watch(session),
                Err(refusal) => away.push((session.id, refusal)),
            }
        }
        self.audit.check_at = (end < self.sessions.len()).then_some(end);
        for (id, refusal) in away {
            self.turn_away(now, id, refusal);
        }
    }

    /// Verifies the signatures of the next session that has any.
    fn verify_next(&mut self, now: Now, from: usize, unix_s: u64) {
        let end = self.sessions.len().min(from + SESSIONS_PER_TURN);
        for at in from..end {
            self.audit.verify_at = Some(at + 1);
            if let Some((id, verdict)) = self.verify_again(at, unix_s) {
                if let Err(refusal) = verdict {
                    self.turn_away(now, id, refusal);
                }
                return;
            }
        }
        self.audit.verify_at = (end < self.sessions.len()).then_some(end);
    }

    /// What the signatures of a session say now; nothing where there are none to verify.
    fn verify_again(&mut self, at: usize, unix_s: u64) -> Option<(SessionId, Result<(), Refusal>)> {
        let session = self.sessions[at].as_deref_mut()?;
        // Its handshake began with the authorities of then.
        session.verifies_late = session.phase == Phase::Handshake;
        if session.phase == Phase::Closed || !matches!(session.proof, Proof::Certificate(_)) {
            return None;
        }
        let chain = session.peer_chain()?;
        Some((session.id, self.audit.trust.verify(&chain, unix_s)))
    }

    /// Closes a session whose peer is not, or no longer, who it has to be.
    pub(crate) fn turn_away(&mut self, now: Now, id: SessionId, refusal: Refusal) {
        if self.phase(id) == Some(Phase::Closed) {
            return;
        }
        self.tally.sessions_refused[refusal as usize] += 1;
        self.close(now, id, refusal.close_code());
    }
}

impl Session {
    /// Learns who the peer is, as soon as TLS has seen it prove that.
    pub(crate) fn identify(&mut self, trust: &Trust, unix_ns: u64) -> Result<(), Refusal> {
        if trust.auth == ClientAuth::Off {
            self.scope = Scope::All;
            return Ok(());
        }
        // TLS shows a chain only after the peer has signed with its key, or resumed a session in which it had.
        if let Some(chain) = self.peer_chain() {
            let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
            let (scope, credential) = identity::read(leaf)?;
            self.proof = Proof::Certificate(credential);
            let unix_s = unix_ns / 1_000_000_000;
            trust.check(&self.proof, unix_s)?;
            if self.verifies_late {
                trust.verify(&chain, unix_s)?;
            }
            self.scope = scope;
            return Ok(());
        }
        self.scope = match trust.auth {
            _ if self.phase == Phase::Handshake => Scope::Unknown,
            ClientAuth::Required if trust.tokens.is_empty() => return Err(Refusal::NoCertificate),
            ClientAuth::Required => Scope::Nobody,
            ClientAuth::Optional | ClientAuth::Off => Scope::All,
        };
        Ok(())
    }

    /// Judges a hello by its token, where the peer has no certificate. `bytes` are those of the hello.
    pub(crate) fn handle_token(
        &mut self,
        trust: &Trust,
        (hello, bytes): (&Hello, &[u8]),
        outcome: &mut Outcome,
    ) {
        let token = Token::of_hello(bytes);
        let silent = token.is_empty() && self.scope != Scope::Nobody;
        if self.proof != Proof::None || trust.auth == ClientAuth::Off || silent {
            return;
        }
        match trust.tokens.prove(hello.device, token) {
            Some(proof) => {
                self.proof = proof;
                self.scope = Scope::Device(hello.device.0);
            }
            None => outcome.turned_away = Some(Refusal::Token),
        }
    }

    /// Refuses a peer that has had its time to prove itself.
    pub(crate) fn check_proof_time(&self, now: Instant) -> Option<Refusal> {
        let open = self.opened.map(|opened| now.saturating_duration_since(opened));
        open.is_none_or(|open| open > PROOF_MAX).then_some(Refusal::Token)
    }

    /// Counts a record of a device that the session may not write for.
    pub(crate) fn count_forbidden(&mut self, tier: Tier, records: usize) {
        let tally = &mut self.tally[tier.index()];
        tally.rejected += records as u64;
        tally.forbidden += records as u64;
    }

    /// The certificates that the peer has proved to own, leaf first.
    fn peer_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let identity = self.connection.crypto_session().peer_identity()?;
        identity.downcast::<Vec<CertificateDer<'static>>>().ok().map(|chain| *chain)
    }
}
