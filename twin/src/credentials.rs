//! What the twin shows to its devices and whom it trusts, as files: read at start, and again when they change.
//!
//! [`CredentialFiles`] looks at the files ten times a second and at a flag that SIGHUP raises. What it reads goes to the workers
//! as one renewal; a file that cannot be used leaves everything as it was, is reported, and counted. Nothing here runs
//! on a hot thread.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use netloop::{
    ClientAuth, Renewal, Renewer, ServerTls, TlsError, Tokens, Trust, Waker,
    certificate_not_after_s, certificate_sha256, certificates_from_pem_file,
    revocation_lists_from_pem_file,
};
use rustls::pki_types::CertificateDer;
use signal_hook::{consts::SIGHUP, flag};

use crate::certs::{BROWSER_DAYS, BrowserPair, browser_pair};
use crate::config::Tls;
use crate::http::Surface;
use crate::stats::TwinStats;

const NS_PER_S: u64 = 1_000_000_000;
/// The certificate for browsers is replaced so often, in seconds: two days before it runs out.
const BROWSERS_EVERY_S: u64 = (BROWSER_DAYS - 2) * 86_400;

/// A set of certificates that fit together.
pub struct Credentials {
    renewal: Renewal,
    /// SHA-256 of what browsers are shown, where they may come.
    browsers: Option<[u8; 32]>,
    /// When the first of the server's certificates runs out, in unix seconds.
    server_not_after_s: u64,
    /// When the first of the authorities of devices runs out, in unix seconds; nothing where there is none.
    authority_not_after_s: Option<u64>,
}

impl Credentials {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A file is missing or malformed, the key does not fit its certificate, or a list is signed by no authority.
    pub fn load(files: &Tls, browsers: Option<BrowserPair>) -> anyhow::Result<Self> {
        let tls = ServerTls::from_pem_files(&files.cert, &files.key)?;
        if files.client_auth == ClientAuth::Off {
            return Ok(Self::new(tls, Trust::off(), &[], browsers)?);
        }
        let authorities = certificates_from_pem_file(&files.ca).context("tls.ca")?;
        let lists = match &files.crl {
            Some(path) => revocation_lists_from_pem_file(path)
                .context("tls.crl; \"none\" where nothing is ever revoked")?,
            None => Vec::new(),
        };
        let tokens = files.tokens.as_deref().map(read_tokens).transpose()?.unwrap_or_default();
        let trust = Trust::new(files.client_auth, &authorities, &lists, tokens)?;
        Ok(Self::new(tls, trust, &authorities, browsers)?)
    }

    /// Takes certificates that never touched a disk. Browsers may come where there is a pair for them.
    ///
    /// # Errors
    /// The key does not fit its certificate.
    pub fn new(
        tls: ServerTls,
        trust: Trust,
        authorities: &[CertificateDer<'static>],
        browsers: Option<BrowserPair>,
    ) -> Result<Self, TlsError> {
        let not_after_s = |chain: &[CertificateDer<'static>]| {
            chain.iter().filter_map(certificate_not_after_s).min()
        };
        let server_not_after_s = not_after_s(tls.chain()).unwrap_or_default();
        let authority_not_after_s = not_after_s(authorities);
        let mut tls = tls.with_trust(Arc::new(trust));
        let sha256 = browsers.as_ref().map(|pair| certificate_sha256(&pair.certificate));
        if let Some(BrowserPair { certificate, key }) = browsers {
            tls = tls.with_browsers(vec![certificate], key);
        }
        let renewal = tls.into_renewal()?;
        Ok(Self { renewal, browsers: sha256, server_not_after_s, authority_not_after_s })
    }

    /// SHA-256 of the certificate that browsers are shown, where they may come.
    #[must_use]
    pub const fn browsers(&self) -> Option<[u8; 32]> {
        self.browsers
    }

    /// What the workers are given.
    #[must_use]
    pub const fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// Publishes dates and counts.
    pub fn publish(&self, stats: &TwinStats) {
        let (to, trust) = (&stats.identity, &self.renewal.trust);
        let modes = ClientAuth::ALL.iter().zip(&to.client_auth);
        modes.for_each(|(mode, shown)| shown.set(u64::from(*mode == trust.auth())));
        to.server_not_after_s.set(self.server_not_after_s);
        to.authority_not_after_s.set(self.authority_not_after_s.unwrap_or_default());
        to.revoked.set(trust.revoked() as u64);
        to.tokens.set(trust.tokens() as u64);
    }
}

fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    let place = || format!("tls.tokens: {}", path.display());
    let text = std::fs::read_to_string(path).with_context(place)?;
    Tokens::parse(&text).with_context(place)
}

/// Keeps the workers at what the files say.
pub struct CredentialFiles {
    files: Tls,
    /// When the certificate for browsers has to be another, in unix seconds; nothing where they may not come.
    browsers_until_s: Option<u64>,
    workers: Vec<Line>,
    surface: Arc<Surface>,
    /// What workers may still hold: it is kept here until they do not, so that no hot thread has to free it.
    lent: Vec<Renewal>,
    /// Raised by SIGHUP.
    asked: Arc<AtomicBool>,
    /// The files as they were when they were last read, and when they were last looked at.
    read: Stamps,
    seen: Stamps,
}

/// The way to one worker.
struct Line {
    renewer: Renewer,
    waker: Waker,
    /// What the worker had no room for: it stands still, and takes the last word when it comes back.
    waiting: Option<Renewal>,
}

impl Line {
    fn push(&mut self, renewal: Renewal) {
        self.waiting = self.renewer.push(renewal).err();
        self.waker.wake();
    }
}

/// Of each file: its number on the disk, its length, and when it was written, in seconds and nanoseconds. None while it is
/// not there.
pub(crate) type Stamps = Vec<Option<[u64; 4]>>;

impl CredentialFiles {
    /// Watches files that were read just now, for these workers. From here on SIGHUP asks to read them again.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn new(
        files: &Tls,
        browsers: bool,
        workers: Vec<(Renewer, Waker)>,
        surface: Arc<Surface>,
    ) -> std::io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        flag::register(SIGHUP, Arc::clone(&asked))?;
        let seen = stamps(files_of(files));
        let line = |(renewer, waker)| Line { renewer, waker, waiting: None };
        let workers = workers.into_iter().map(line).collect();
        let until_s = surface.now_ns() / NS_PER_S + BROWSERS_EVERY_S;
        Ok(Self {
            files: files.clone(),
            browsers_until_s: browsers.then_some(until_s),
            workers,
            surface,
            lent: Vec::new(),
            asked,
            read: seen.clone(),
            seen,
        })
    }

    /// Reads the files again if they have changed, or somebody asked. A change counts once it has lasted from one look to
    /// the next, so that a key and its certificate are not read one without the other.
    pub fn poll(&mut self) {
        let now = stamps(files_of(&self.files));
        let settled = now == self.seen && now != self.read;
        self.seen = now;
        // The flag guards nothing but itself: whoever raised it wrote files, and not memory.
        let due = self.browsers_until_s.is_some_and(|until_s| self.unix_s() > until_s);
        if self.asked.swap(false, Ordering::Relaxed) || settled || due {
            self.reload();
        }
        for line in &mut self.workers {
            if let Some(renewal) = line.waiting.take() {
                line.push(renewal);
            }
        }
    }

    fn reload(&mut self) {
        self.read = stamps(files_of(&self.files));
        let stats = self.surface.stats();
        let reloads = &stats.identity.reloads;
        let now_s = self.unix_s();
        let browsers = self.browsers_until_s.map(|_| browser_pair(now_s)).transpose();
        let loaded = browsers
            .map_err(anyhow::Error::from)
            .and_then(|browsers| Credentials::load(&self.files, browsers));
        // Also where it fails: what is tried ten times a second would fill the log.
        self.browsers_until_s = self.browsers_until_s.map(|_| now_s + BROWSERS_EVERY_S);
        let credentials = match loaded {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::error!("certificates stay as they were: {error:#}");
                reloads.failed.add(1);
                return;
            }
        };
        self.workers.iter_mut().for_each(|line| line.push(credentials.renewal.clone()));
        self.lent.retain(|renewal| Arc::strong_count(&renewal.crypto) > 1);
        self.lent.push(credentials.renewal.clone());
        self.surface.browsers().show(credentials.browsers);
        credentials.publish(stats);
        reloads.done.add(1);
        tracing::info!(
            revoked = credentials.renewal.trust.revoked(),
            "certificates were read again"
        );
    }

    fn unix_s(&self) -> u64 {
        self.surface.now_ns() / NS_PER_S
    }
}

/// Files as they are now.
pub(crate) fn stamps<'a>(files: impl Iterator<Item = &'a Path>) -> Stamps {
    let stamp = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some([found.ino(), found.len(), found.mtime() as u64, found.mtime_nsec() as u64])
    };
    files.map(stamp).collect()
}

fn files_of(files: &Tls) -> impl Iterator<Item = &Path> {
    let lists = [files.crl.as_deref(), files.tokens.as_deref()];
    let always = [files.cert.as_path(), &files.key, &files.ca];
    always.into_iter().chain(lists.into_iter().flatten())
}
