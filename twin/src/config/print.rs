//! The configuration as text: `config show` and `config init`.

use std::fmt::Write;

use super::Entry;

/// Columns of a comment line in the file, the `# ` included.
const COLUMNS: usize = 100;

pub(super) fn show(entries: &[Entry]) -> String {
    let lines: Vec<String> =
        entries.iter().map(|entry| format!("{} = {}", entry.key.name, entry.value)).collect();
    // A list of rules may be long; it does not push the sources of all others out of sight.
    let width = lines.iter().map(String::len).filter(|width| *width < COLUMNS / 2).max();
    lines.iter().zip(entries).fold(String::new(), |mut text, (line, entry)| {
        let width = width.unwrap_or(0);
        writeln!(text, "{line:width$}  # {}", entry.source).expect("because a String takes all");
        text
    })
}

pub(super) fn to_toml(entries: &[Entry]) -> String {
    let mut text = String::from(
        "# Configuration of pollux. Above it lie POLLUX_SECTION__KEY in the environment, then --set.\n",
    );
    let mut open = "";
    for entry in entries {
        let (section, name) =
            entry.key.name.rsplit_once('.').expect("because every key lies in a section");
        if section != open {
            text.push_str(&format!("\n[{section}]\n"));
            open = section;
        }
        let doc = format!("{} Must be {}.", entry.key.doc, entry.key.kind.allowed());
        for line in wrap(&doc) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("{name} = {}\n", entry.value));
    }
    text
}

/// Breaks at blanks so that no line of the file passes [`COLUMNS`].
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("because it starts with one line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() + 2 <= COLUMNS {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
