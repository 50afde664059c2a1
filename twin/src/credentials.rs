//! What the twin shows to its devices and whom it trusts, as files: read at start, and again when they change.
//!
//! [`CredentialFiles`] looks at the files ten times a second and at a flag that SIGHUP raises. What it reads goes to the workers
//! as one renewal; a file that cannot be used leaves everything as it was, is reported, and counted. Nothing here runs
//! on a hot thread.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use netloop::{
    ClientAuth, Renewal, Renewer, ServerTls, TlsError, Tokens, Trust, Waker, certificate_sha256,
    certificate_validity_s, certificates_from_pem_file, revocation_lists_from_pem_file,
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
/// A clock that was set back by less than this leaves the certificate for browsers valid: it is backdated.
const CLOCK_SLACK_S: u64 = 3600;
/// Files that could not be used are tried again so often: what hindered may be a folder above them, which has no stamp.
const RETRY_NS: u64 = 10 * NS_PER_S;

/// A set of certificates that fit together.
pub struct Credentials {
    renewal: Renewal,
    /// SHA-256 of what browsers are shown, where they may come.
    browsers: Option<[u8; 32]>,
    /// When all of the server's certificates are valid.
    server: Option<Validity>,
    /// When all of the authorities of devices are; nothing where there is none.
    authority: Option<Validity>,
}

/// The first and the last second in which a certificate is valid, in unix seconds.
type Validity = (u64, u64);

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
        let validity = |chain: &[CertificateDer<'static>]| {
            let each = chain.iter().filter_map(certificate_validity_s);
            each.reduce(|(from, until), other| (from.max(other.0), until.min(other.1)))
        };
        let (server, authority) = (validity(tls.chain()), validity(authorities));
        let mut tls = tls.with_trust(Arc::new(trust));
        let sha256 = browsers.as_ref().map(|pair| certificate_sha256(&pair.certificate));
        if let Some(BrowserPair { certificate, key }) = browsers {
            tls = tls.with_browsers(vec![certificate], key);
        }
        let renewal = tls.into_renewal()?;
        Ok(Self { renewal, browsers: sha256, server, authority })
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

    /// Warns of certificates that are not valid now: peers will refuse the one, and the other admits nobody.
    pub fn warn_of_dates(&self, now_s: u64) {
        for words in self.wrong_dates(now_s) {
            tracing::warn!("{words}");
        }
    }

    fn wrong_dates(&self, now_s: u64) -> Vec<String> {
        let both = [("tls.cert", self.server), ("tls.ca", self.authority)];
        let wrong = both.into_iter().filter_map(|(name, validity)| {
            let (from_s, until_s) = validity?;
            let [from, until, now] = [from_s, until_s, now_s].map(day);
            (!(from_s..=until_s).contains(&now_s)).then(|| {
                format!("{name} is valid from {from} to {until}, this host's clock says {now}")
            })
        });
        wrong.collect()
    }

    /// Publishes dates and counts.
    pub fn publish(&self, stats: &TwinStats) {
        let (to, trust) = (&stats.identity, &self.renewal.trust);
        let modes = ClientAuth::ALL.iter().zip(&to.client_auth);
        modes.for_each(|(mode, shown)| shown.set(u64::from(*mode == trust.auth())));
        let (server, authority) =
            (self.server.unwrap_or_default(), self.authority.unwrap_or_default());
        to.server_not_before_s.set(server.0);
        to.server_not_after_s.set(server.1);
        to.authority_not_before_s.set(authority.0);
        to.authority_not_after_s.set(authority.1);
        to.revoked.set(trust.revoked() as u64);
        to.tokens.set(trust.tokens() as u64);
    }
}

fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    let place = || format!("tls.tokens: {}", path.display());
    let text = std::fs::read_to_string(path).with_context(place)?;
    Tokens::parse(&text).with_context(place)
}

/// The day of a moment in unix seconds.
fn day(unix_s: u64) -> String {
    // The last year that a date can name is 9999, also in a certificate.
    let unix_s = unix_s.min(253_402_300_799);
    (rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s)).date().to_string()
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
    failed: Option<Failed>,
}

/// The last time that the files could not be used.
struct Failed {
    words: String,
    /// When they are tried again, in nanoseconds since the surface began.
    again_ns: u64,
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

/// Of each file: its number on the disk, its length, and when its contents and anything else of it, such as who may read it, were
/// changed, in seconds and nanoseconds. None while it is not there.
pub(crate) type Stamps = Vec<Option<[u64; 6]>>;

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
            failed: None,
        })
    }

    /// Reads the files again if they have changed, or somebody asked. A change counts once it has lasted from one look to
    /// the next, so that a key and its certificate are not read one without the other.
    pub fn poll(&mut self) {
        let now = stamps(files_of(&self.files));
        let settled = now == self.seen && now != self.read;
        self.seen = now;
        // The flag guards nothing but itself: whoever raised it wrote files, and not memory.
        if self.asked.swap(false, Ordering::Relaxed) || settled || self.browsers_are_due() {
            self.failed = None;
            self.reload();
        } else if self.failed.as_ref().is_some_and(|f| self.surface.elapsed_ns() >= f.again_ns) {
            self.reload();
        }
        for line in &mut self.workers {
            if let Some(renewal) = line.waiting.take() {
                line.push(renewal);
            }
        }
    }

    /// Whether the certificate for browsers runs out, or was made by a clock that has been set back since.
    fn browsers_are_due(&self) -> bool {
        let now_s = self.unix_s();
        self.browsers_until_s.is_some_and(|until_s| {
            now_s > until_s || now_s + BROWSERS_EVERY_S + CLOCK_SLACK_S < until_s
        })
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
                let words = format!("certificates stay as they were: {error:#}");
                // What is tried again for the same reason is no news.
                if self.failed.as_ref().is_none_or(|failed| failed.words != words) {
                    tracing::error!("{words}");
                    reloads.failed.add(1);
                }
                let again_ns = self.surface.elapsed_ns() + RETRY_NS;
                self.failed = Some(Failed { words, again_ns });
                return;
            }
        };
        self.failed = None;
        credentials.warn_of_dates(now_s);
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
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        let [written, written_ns, changed, changed_ns] = times.map(|time| time as u64);
        Some([found.ino(), found.len(), written, written_ns, changed, changed_ns])
    };
    files.map(stamp).collect()
}

fn files_of(files: &Tls) -> impl Iterator<Item = &Path> {
    let lists = [files.crl.as_deref(), files.tokens.as_deref()];
    let always = [files.cert.as_path(), &files.key, &files.ca];
    always.into_iter().chain(lists.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::report::Report;

    #[test]
    fn a_certificate_that_is_not_valid_now_is_named_with_its_dates() {
        let BrowserPair { certificate, key } = browser_pair(1_700_000_000).unwrap();
        let tls = ServerTls::from_der(vec![certificate], key);
        let credentials = Credentials::new(tls, Trust::off(), &[], None).unwrap();
        assert_eq!(credentials.wrong_dates(1_700_000_000), Vec::<String>::new());
        let (from, until) =
            credentials.server.map(|(from, until)| (day(from), day(until))).unwrap();
        let words =
            |now| format!("tls.cert is valid from {from} to {until}, this host's clock says {now}");
        assert_eq!(credentials.wrong_dates(7), [words("1970-01-01")]);
        assert_eq!(credentials.wrong_dates(1_900_000_000), [words("2030-03-17")]);
    }

    /// Files of a server without clients' certificates, and whoever watches them.
    fn watched(folder: &Path) -> (Tls, CredentialFiles) {
        let made = rcgen::generate_simple_self_signed(["twin".to_owned()]).unwrap();
        let [cert, key] = ["cert", "key"].map(|name| folder.join(name));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let files =
            Tls { cert, key, client_auth: ClientAuth::Off, ..crate::config::Config::default().tls };
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        let surface = Surface::new(Arc::new(TwinStats::new(1)), report, || 0);
        let watch = CredentialFiles::new(&files, false, Vec::new(), surface).unwrap();
        (files, watch)
    }

    fn reloads(watch: &CredentialFiles) -> (u64, u64) {
        let reloads = &watch.surface.stats().identity.reloads;
        (reloads.done.value(), reloads.failed.value())
    }

    #[test]
    fn a_file_that_could_not_be_used_is_read_again_when_only_its_change_time_tells() {
        let folder = tempfile::tempdir().unwrap();
        let (files, mut watch) = watched(folder.path());
        let good = fs::read(&files.key).unwrap();
        fs::write(&files.key, vec![b'x'; good.len()]).unwrap();
        (0..3).for_each(|_| watch.poll());
        assert_eq!(reloads(&watch), (0, 1));
        // The same file of the same length, written at the same time as far as that says.
        let written = fs::metadata(&files.key).unwrap().modified().unwrap();
        fs::write(&files.key, &good).unwrap();
        fs::File::options().write(true).open(&files.key).unwrap().set_modified(written).unwrap();
        (0..3).for_each(|_| watch.poll());
        assert_eq!(reloads(&watch), (1, 1));
    }

    #[test]
    fn a_file_that_could_not_be_used_is_tried_again_after_a_while_and_told_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let (files, mut watch) = watched(folder.path());
        let good = fs::read(&files.key).unwrap();
        fs::write(&files.key, "nothing").unwrap();
        (0..3).for_each(|_| watch.poll());
        watch.failed.as_mut().unwrap().again_ns = 0;
        watch.poll();
        assert_eq!(reloads(&watch), (0, 1), "the same words");
        // Mended in a way that leaves no trace.
        fs::write(&files.key, &good).unwrap();
        watch.read = stamps(files_of(&files));
        watch.seen = watch.read.clone();
        watch.poll();
        assert_eq!(reloads(&watch), (0, 1), "it is not yet time");
        watch.failed.as_mut().unwrap().again_ns = 0;
        watch.poll();
        assert_eq!(reloads(&watch), (1, 1));
    }
}
