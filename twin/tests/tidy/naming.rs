//! Names and open ends: no drawer for odds and ends, and no promise without an owner.

use super::tree::{Finding, Tree};

/// Names that say nothing about what is inside.
const FORBIDDEN: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "misc", "shared"];
/// Marks of unfinished work. Written in halves, so that this file does not find itself.
const OWNED: &str = concat!("TO", "DO");
const NEVER: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// Files and folders with a name that anything would fit into.
pub(crate) fn file_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.paths().filter(|path| !path.starts_with("results/")) {
        let vague = path.split('/').find(|part| {
            let stem = part.split('.').next().unwrap_or(part);
            FORBIDDEN.contains(&stem)
        });
        if let Some(part) = vague {
            findings.push(Finding::new(path, 0, format!("`{part}` does not say what it holds")));
        }
    }
    findings
}

/// Open ends without the name of who closes them.
pub(crate) fn open_ends(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for extension in ["rs", "sh", "toml"] {
        for (path, text) in tree.with_extension(extension) {
            for (index, line) in text.lines().enumerate() {
                if let Some(message) = open_end(line) {
                    findings.push(Finding::new(path, index + 1, message));
                }
            }
        }
    }
    findings
}

fn open_end(line: &str) -> Option<String> {
    if let Some(mark) = NEVER.iter().find(|mark| line.contains(*mark)) {
        return Some(format!("`{mark}` is not used here: write {OWNED}(name): and the condition"));
    }
    let (_, after) = line.split_once(OWNED)?;
    let owner = after.strip_prefix('(').and_then(|rest| rest.split_once("):"));
    match owner {
        Some((name, condition)) if !name.is_empty() && !condition.trim().is_empty() => None,
        _ => Some(format!("an open end reads {OWNED}(name): condition to remove it")),
    }
}

#[test]
fn a_drawer_for_odds_and_ends_is_found() {
    for path in ["ecs/src/util.rs", "netloop/tests/common/mod.rs", "scripts/misc.sh"] {
        assert_eq!(file_names(&Tree::of_samples(&[(path, "")])).len(), 1, "{path}");
    }
    assert_eq!(file_names(&Tree::of_samples(&[("ecs/src/commoner.rs", "")])), []);
}

#[test]
fn an_open_end_needs_name_and_condition() {
    for bad in [": later", "(): soon", "(ada):", " (ada): x"] {
        let text = format!("//! a\n// {OWNED}{bad}\n");
        let findings = open_ends(&Tree::of_samples(&[("ecs/src/a.rs", &text)]));
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{bad}");
    }
    let text = format!("# {OWNED}(ada): when the kernel is 6.12\n");
    assert_eq!(open_ends(&Tree::of_samples(&[("scripts/a.sh", &text)])), []);
    let text = format!("# {}\n", NEVER[0]);
    assert_eq!(open_ends(&Tree::of_samples(&[("scripts/a.sh", &text)])).len(), 1);
}
