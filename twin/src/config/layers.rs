//! The layers above the defaults: a file, the environment, the command line.
//!
//! A layer is read into settings that carry their origin. Nothing is checked here but the syntax.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::mistake::{ConfigError, Source};
use super::table::{self, names_section};
use super::variable;

/// Prefix of environment variables that hold keys.
const PREFIX: &str = "POLLUX_";

/// What lies above the defaults, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not start with `POLLUX_` are ignored, as are those of [`variable`].
    pub environment: Vec<(String, String)>,
    /// Values of `--set`, each `key=value`.
    pub set: Vec<String>,
}

/// A value as its layer wrote it.
#[derive(Debug)]
pub(super) enum Written {
    /// TOML knows its type.
    Value(toml::Value),
    /// The key decides how the text is read.
    Text(String),
}

/// One key of one layer.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: Written,
    pub(super) source: Source,
}

impl Layers {
    /// The layers of this process: its environment, and what its command line said.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        // A variable that is no UTF-8 cannot name a key, so losing its exact bytes loses nothing.
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect();
        Self { file, environment, set }
    }

    /// All settings, lowest layer first, so that the last one of a key is in force.
    pub(super) fn settings(&self, mistakes: &mut Vec<ConfigError>) -> Vec<Setting> {
        let mut settings = Vec::new();
        self.read_file(&mut settings, mistakes);
        let mut variables: Vec<_> = self.environment.iter().collect();
        variables.sort();
        for (name, value) in variables {
            if variable::ALL.contains(&name.as_str()) {
                continue;
            }
            if let Some(rest) = name.strip_prefix(PREFIX) {
                settings.push(Setting {
                    key: rest.to_lowercase().replace("__", "."),
                    value: Written::Text(value.clone()),
                    source: Source::Environment(name.clone()),
                });
            }
        }
        for text in &self.set {
            match text.split_once('=') {
                Some((key, value)) => settings.push(Setting {
                    key: key.trim().to_owned(),
                    value: Written::Text(value.trim().to_owned()),
                    source: Source::Set,
                }),
                None => mistakes.push(ConfigError::NoAssignment { text: text.clone() }),
            }
        }
        settings
    }

    fn read_file(&self, settings: &mut Vec<Setting>, mistakes: &mut Vec<ConfigError>) {
        let Some(path) = &self.file else { return };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(reason) => {
                return mistakes.push(ConfigError::Unreadable { path: path.clone(), reason });
            }
        };
        read_text(path, &text, settings, mistakes);
    }
}

/// The settings of a TOML text that stands in `path`.
pub(super) fn read_text(
    path: &Path,
    text: &str,
    settings: &mut Vec<Setting>,
    mistakes: &mut Vec<ConfigError>,
) {
    // Parsed twice: once for the values, once for the places of the keys.
    match (text.parse::<toml::Table>(), DeTable::parse(text)) {
        (Ok(values), Ok(places)) => {
            File { path, text }.walk("", values, places.get_ref(), settings);
        }
        (Err(error), _) | (_, Err(error)) => {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            let place = Source::File { path: path.to_owned(), line };
            let reason = error.message().to_owned();
            mistakes.push(ConfigError::Syntax { place, reason });
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// Flattens sections into dotted keys.
    fn walk(
        &self,
        prefix: &str,
        values: toml::Table,
        places: &DeTable<'_>,
        out: &mut Vec<Setting>,
    ) {
        for (name, value) in values {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let place = places.iter().find(|(place, _)| place.get_ref().as_ref() == name);
            let line = place.map_or(1, |(place, _)| line_at(self.text, place.span().start));
            let known = table::keys().any(|entry| entry.name == key);
            match (value, place.map(|(_, value)| value.get_ref())) {
                (toml::Value::Table(inside), Some(DeValue::Table(places)))
                    if !known && names_section(&key) =>
                {
                    self.walk(&key, inside, places, out);
                }
                (value, _) => out.push(Setting {
                    key,
                    value: Written::Value(value),
                    source: Source::File { path: self.path.to_owned(), line },
                }),
            }
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count()
}
