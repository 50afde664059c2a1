//! Values against the table: what is allowed, and what is said when a value is not.
//!
//! What is found here is told by the words of `mistake.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use netloop::{ClientAuth, SessionId};

use super::layers::{Setting, Written};
use super::mistake::ConfigError;
use super::table::{self, Kind, SENSOR_TYPES, is_below, names_section};
use super::{Config, Entry, Rule, StopRule};

impl Kind {
    /// What may stand here, to follow "must be".
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Count { min, max, .. } => format!("a whole number from {min} to {max}"),
            Self::PowerOfTwo { min, max, .. } => format!("a power of two from {min} to {max}"),
            Self::Core { .. } => "the number of a core, or \"none\"".to_owned(),
            Self::Real { min, max, .. } if *max == f64::INFINITY && *min == -f64::INFINITY => {
                "a number, inf or -inf".to_owned()
            }
            Self::Real { min, max, .. } if *max == f64::MAX => format!("a number, at least {min}"),
            Self::Real { min, max, .. } => format!("a number from {min} to {max}"),
            Self::Switch { .. } => "true or false".to_owned(),
            Self::Addr { .. } => "IP:PORT, for example 0.0.0.0:4433 or [::]:4433".to_owned(),
            Self::Path { .. } => "the path of a file".to_owned(),
            Self::PathOrNone { .. } => "the path of a file, or \"none\"".to_owned(),
            Self::Choice { of, .. } => format!("one of {}", of.join(", ")),
            Self::Rules { .. } => format!(
                "a list of {{ sensor_type, above, setpoint }} with two finite numbers and a type out of {}",
                SENSOR_TYPES.join(", ")
            ),
            Self::StopRules { .. } => format!(
                "a list of {{ sensor_type, above }} with a finite number and a type out of {}",
                SENSOR_TYPES.join(", ")
            ),
        }
    }

    /// Text of the environment or the command line as a value. What cannot be read stays text, so that
    /// the check that follows refuses it with its own words.
    pub(super) fn literal(&self, text: &str) -> toml::Value {
        let digits = text.replace('_', "");
        let read = match self {
            Self::Count { .. } | Self::PowerOfTwo { .. } | Self::Core { .. } => {
                digits.parse().ok().map(toml::Value::Integer)
            }
            Self::Real { .. } => digits.parse().ok().map(toml::Value::Float),
            Self::Switch { .. } => text.parse().ok().map(toml::Value::Boolean),
            Self::Rules { .. } | Self::StopRules { .. } => format!("rules = {text}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut table| table.remove("rules")),
            Self::Addr { .. }
            | Self::Path { .. }
            | Self::PathOrNone { .. }
            | Self::Choice { .. } => None,
        };
        read.unwrap_or_else(|| toml::Value::String(text.to_owned()))
    }

    pub(super) fn read(&self, written: Written) -> toml::Value {
        match written {
            Written::Value(value) => value,
            Written::Text(text) => self.literal(&text),
        }
    }

    /// Writes the value into the configuration if it is allowed, and says whether it was.
    pub(super) fn assign(&self, value: &toml::Value, config: &mut Config) -> bool {
        self.accept(value, config).is_some()
    }

    fn accept(&self, value: &toml::Value, config: &mut Config) -> Option<()> {
        match self {
            Self::Count { min, max, set } => set(config, count(value, *min, *max)?),
            Self::PowerOfTwo { min, max, set } => {
                let count = count(value, *min, *max).filter(|count| count.is_power_of_two())?;
                set(config, count);
            }
            Self::Core { set } if value.as_str() == Some("none") => set(config, None),
            Self::Core { set } => set(config, Some(count(value, 0, 4095)? as usize)),
            Self::Real { min, max, set } => {
                let real = real(value).filter(|real| (*min..=*max).contains(real))?;
                set(config, real);
            }
            Self::Switch { set } => set(config, value.as_bool()?),
            Self::Addr { set } => set(config, value.as_str()?.parse::<SocketAddr>().ok()?),
            Self::Path { set } => {
                set(config, value.as_str().filter(|path| !path.is_empty())?.into());
            }
            Self::PathOrNone { set } if value.as_str() == Some("none") => set(config, None),
            Self::PathOrNone { set } => {
                let path = value.as_str().filter(|path| !path.is_empty())?;
                set(config, Some(path.into()));
            }
            Self::Choice { of, set } => {
                let text = value.as_str()?;
                set(config, of.iter().position(|name| *name == text)?);
            }
            Self::Rules { set } => {
                let rules = value.as_array()?.iter().map(rule).collect::<Option<_>>()?;
                set(config, rules);
            }
            Self::StopRules { set } => {
                let rules = value.as_array()?.iter().map(stop_rule).collect::<Option<_>>()?;
                set(config, rules);
            }
        }
        Some(())
    }
}

fn count(value: &toml::Value, min: u64, max: u64) -> Option<u64> {
    let count = u64::try_from(value.as_integer()?).ok()?;
    (min..=max).contains(&count).then_some(count)
}

fn real(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
}

fn rule(value: &toml::Value) -> Option<Rule> {
    let fields = value.as_table().filter(|fields| fields.len() == 3)?;
    let name = fields.get("sensor_type")?.as_str()?;
    let finite = |field: &str| real(fields.get(field)?).filter(|real| real.is_finite());
    Some(Rule {
        sensor_type: SENSOR_TYPES.iter().position(|known| *known == name)?,
        above: finite("above")?,
        setpoint: finite("setpoint")?,
    })
}

fn stop_rule(value: &toml::Value) -> Option<StopRule> {
    let fields = value.as_table().filter(|fields| fields.len() == 2)?;
    let name = fields.get("sensor_type")?.as_str()?;
    Some(StopRule {
        sensor_type: SENSOR_TYPES.iter().position(|known| *known == name)?,
        above: real(fields.get("above")?).filter(|real| real.is_finite())?,
    })
}

/// Rules between keys, checked once each key is right by itself.
pub(super) fn relations(config: &Config, entries: &[Entry], mistakes: &mut Vec<ConfigError>) {
    let mut refuse = |name: String, allowed: String| {
        let entry = entries.iter().find(|entry| entry.key.name == name);
        mistakes.extend(entry.map(|entry| invalid(entry, allowed)));
    };
    if config.net.keep_alive_ms >= config.net.idle_timeout_ms {
        let bound = config.net.idle_timeout_ms;
        refuse("net.keep_alive_ms".into(), format!("below net.idle_timeout_ms, which is {bound}"));
    }
    if config.net.session_places() > SessionId::PLACES_MAX {
        let workers = config.net.workers;
        let most = SessionId::PLACES_MAX / workers * workers;
        let allowed = format!("at most {most}, as long as net.workers is {workers}");
        refuse("net.max_sessions".into(), allowed);
    }
    if let Some((first, last)) = config.shared_core() {
        let strategy = config.idle.strategy.name();
        let allowed = format!(
            "none, or no core of a worker, which have {first} to {last}, as long as idle.strategy is {strategy}"
        );
        refuse("tick.core".into(), allowed);
    }
    let http = &config.http;
    if http.cert.is_some() != http.key.is_some() {
        let (name, other) = if http.key.is_some() { ("key", "cert") } else { ("cert", "key") };
        refuse(format!("http.{name}"), format!("none, as long as http.{other} is none"));
    }
    if http.client_ca.is_some() && http.cert.is_none() {
        refuse("http.client_ca".into(), "none, as long as http.cert is none".to_owned());
    }
    if http.client_ca.as_ref() == Some(&config.tls.ca) {
        let allowed = "another authority than tls.ca, whose devices would all be operators";
        refuse("http.client_ca".into(), allowed.to_owned());
    }
    let guarded = http.cert.is_some() && (http.token_file.is_some() || http.client_ca.is_some());
    if http.enabled && !http.addr.ip().is_loopback() && !guarded {
        let allowed =
            "a loopback address, unless http.cert is set, and http.token_file or http.client_ca";
        refuse("http.addr".into(), allowed.to_owned());
    }
    for (name, threshold) in SENSOR_TYPES.iter().zip(&config.thresholds) {
        if threshold.low >= threshold.high {
            refuse(
                format!("thresholds.{name}.low"),
                format!("below thresholds.{name}.high, which is {}", threshold.high),
            );
        } else if threshold.hysteresis >= threshold.high - threshold.low {
            refuse(
                format!("thresholds.{name}.hysteresis"),
                format!("below the distance from low to high, {}", threshold.high - threshold.low),
            );
        }
    }
}

/// Files that a twin cannot do without, once it is about to serve.
pub(super) fn files(config: &Config, entries: &[Entry]) -> Vec<ConfigError> {
    let tls = &config.tls;
    let trusts = tls.client_auth != ClientAuth::Off;
    let init = "`pollux certs init` makes one";
    let crl = "`pollux certs init` makes one; \"none\" where nothing is ever revoked";
    let files = [
        ("tls.cert", Some(&tls.cert), init),
        ("tls.key", Some(&tls.key), init),
        ("tls.ca", Some(&tls.ca).filter(|_| trusts), init),
        ("tls.crl", tls.crl.as_ref().filter(|_| trusts), crl),
        ("tls.tokens", tls.tokens.as_ref().filter(|_| trusts), "`pollux certs token` makes one"),
    ];
    // What cannot be looked at is told by whoever reads it.
    let is_missing = |path: &&PathBuf| matches!(path.try_exists(), Ok(false));
    let mistake = |name: &str, remedy| {
        let entry = entries.iter().find(|entry| entry.key.name == name)?;
        Some(ConfigError::Missing {
            key: name.to_owned(),
            value: entry.value.to_string(),
            place: entry.source.clone(),
            remedy,
        })
    };
    let missing = files.into_iter().filter(|(_, path, _)| path.as_ref().is_some_and(is_missing));
    missing.filter_map(|(name, _, remedy)| mistake(name, remedy)).collect()
}

pub(super) fn invalid(entry: &Entry, allowed: String) -> ConfigError {
    ConfigError::Invalid {
        key: entry.key.name.to_owned(),
        value: entry.value.to_string(),
        place: entry.source.clone(),
        allowed,
    }
}

pub(super) fn unknown(setting: Setting) -> ConfigError {
    let value = match setting.value {
        Written::Value(value) => value.to_string(),
        Written::Text(text) => format!("{text:?}"),
    };
    let section = setting.key.rsplit_once('.').map(|(section, _)| section);
    let allowed = if names_section(&setting.key) {
        members(&setting.key)
    } else if let Some(section) = section.filter(|section| names_section(section)) {
        members(section)
    } else {
        format!("the sections are {}", sections().join(", "))
    };
    let nearest = if names_section(&setting.key) { None } else { nearest(&setting.key) };
    ConfigError::Unknown { key: setting.key, value, place: setting.source, nearest, allowed }
}

fn members(section: &str) -> String {
    let mut names: Vec<&str> = table::keys()
        .filter(|key| is_below(key.name, section))
        .filter_map(|key| key.name[section.len() + 1..].split('.').next())
        .collect();
    names.dedup();
    format!("[{section}] holds {}", names.join(", "))
}

fn sections() -> Vec<&'static str> {
    let mut names: Vec<&str> = table::keys().filter_map(|key| key.name.split('.').next()).collect();
    names.dedup();
    names
}

/// The known key that takes the fewest edits, if it is near enough to be a slip of the hand.
fn nearest(key: &str) -> Option<String> {
    table::keys()
        .map(|known| (edits(key, known.name), known.name))
        .filter(|(edits, name)| *edits <= 3.max(name.len() / 4))
        .min()
        .map(|(_, name)| name.to_owned())
}

/// Levenshtein distance, one row at a time.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
