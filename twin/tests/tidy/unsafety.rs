//! `unsafe`: only in the files of ARCHITECTURE.md's inventory, as often as it says, and each with its proof beside it.

use std::collections::BTreeMap;

use super::source;
use super::tree::{Finding, Tree};

const PAGE: &str = "ARCHITECTURE.md";
const HEADING: &str = "Unsafe inventory";
/// Crates that never need it; their roots say so to the compiler.
const FORBIDDING: [&str; 3] = ["wire", "twin", "bench"];
/// A proof stands on the line itself or at most so many lines above it.
const PROOF_LINES: usize = 12;

/// Uses that are not in the inventory, counts that differ from it, rows without a use, uses without a proof.
pub(crate) fn inventory(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rows = rows(tree, &mut findings);
    for (path, text) in tree.with_extension("rs") {
        let lines = source::unsafe_lines(path, text);
        findings.extend(lines.iter().filter(|line| !is_proved(text, **line)).map(|line| {
            Finding::new(path, *line, format!("no SAFETY: within {PROOF_LINES} lines above"))
        }));
        match (rows.remove(path), lines.first()) {
            (None, Some(line)) => {
                findings.push(Finding::new(path, *line, format!("not in {PAGE}'s inventory")));
            }
            (Some((_, uses)), _) if uses != lines.len() => {
                let message = format!("{} uses, the inventory says {uses}", lines.len());
                findings.push(Finding::new(path, 0, message));
            }
            _ => {}
        }
    }
    let stale = rows.into_iter();
    findings.extend(
        stale.map(|(path, (line, _))| Finding::new(PAGE, line, format!("no such file: {path}"))),
    );
    findings
}

/// Roots of the crates above that do not forbid unsafe code.
pub(crate) fn forbidden(tree: &Tree) -> Vec<Finding> {
    let is_root = |path: &str| {
        FORBIDDING.iter().any(|name| {
            let below = path.strip_prefix(name).and_then(|rest| rest.strip_prefix("/src/"));
            below.is_some_and(|rest| {
                rest == "lib.rs" || rest == "main.rs" || rest.starts_with("bin/")
            })
        })
    };
    let roots = tree.with_extension("rs").filter(|(path, _)| is_root(path));
    let lax = roots.filter(|(path, text)| !forbids(&source::parse(path, text)));
    lax.map(|(path, _)| Finding::new(path, 1, "this root must say #![forbid(unsafe_code)]"))
        .collect()
}

fn forbids(file: &syn::File) -> bool {
    file.attrs.iter().any(|attribute| {
        attribute.path().is_ident("forbid")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("unsafe_code"))
    })
}

/// The inventory: file, line of its row, number of uses. The path is the first cell, the count the second.
fn rows(tree: &Tree, findings: &mut Vec<Finding>) -> BTreeMap<String, (usize, usize)> {
    let mut rows = BTreeMap::new();
    let text = tree.text(PAGE).unwrap_or("");
    let mut lines = text.lines().enumerate();
    let is_heading =
        |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim() == HEADING;
    if !lines.any(|(_, line)| is_heading(line)) {
        findings.push(Finding::new(PAGE, 0, format!("there is no heading `{HEADING}`")));
    }
    let section = lines.take_while(|(_, line)| !line.starts_with('#'));
    for (index, line) in section.filter(|(_, line)| line.starts_with('|')).skip(2) {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        let path = cells.next().unwrap_or_default();
        match cells.next().unwrap_or_default().parse() {
            Ok(uses) => drop(rows.insert(path.to_owned(), (index + 1, uses))),
            Err(_) => {
                findings.push(Finding::new(PAGE, index + 1, "the second cell is not a number"))
            }
        }
    }
    rows
}

fn is_proved(text: &str, line: usize) -> bool {
    let start = line.saturating_sub(PROOF_LINES + 1);
    let near = text.lines().skip(start).take(line - start);
    near.into_iter().any(|near| near.contains("SAFETY:") || near.contains("# Safety"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# A\n\n## Unsafe inventory\n\n| file | uses | proof |\n|---|---|---|\n| `ecs/src/p.rs` | 1 | x |\n";
    const PROVED: &str = "// SAFETY: it is.\nunsafe impl A for B {}\n";

    fn messages(samples: &[(&str, &str)]) -> Vec<String> {
        inventory(&Tree::of_samples(samples)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_inventory_that_fits_passes() {
        assert_eq!(messages(&[(PAGE, TABLE), ("ecs/src/p.rs", PROVED)]), [""; 0]);
    }

    #[test]
    fn a_use_outside_the_inventory_is_found() {
        let samples = [(PAGE, TABLE), ("ecs/src/p.rs", PROVED), ("ecs/src/q.rs", PROVED)];
        assert_eq!(messages(&samples), ["ecs/src/q.rs:2: not in ARCHITECTURE.md's inventory"]);
    }

    #[test]
    fn a_wrong_count_is_found() {
        let text = format!("{PROVED}{PROVED}");
        assert_eq!(
            messages(&[(PAGE, TABLE), ("ecs/src/p.rs", &text)]),
            ["ecs/src/p.rs:0: 2 uses, the inventory says 1"]
        );
    }

    #[test]
    fn a_row_without_a_file_is_found() {
        assert_eq!(messages(&[(PAGE, TABLE)]), ["ARCHITECTURE.md:7: no such file: ecs/src/p.rs"]);
    }

    #[test]
    fn a_missing_inventory_is_found() {
        let found = messages(&[(PAGE, "# A\n")]);
        assert_eq!(found, ["ARCHITECTURE.md:0: there is no heading `Unsafe inventory`"]);
    }

    #[test]
    fn a_missing_or_distant_proof_is_found() {
        let distant =
            format!("// SAFETY: far away.\n{}unsafe impl A for B {{}}\n", "\n".repeat(PROOF_LINES));
        for text in ["unsafe impl A for B {}\n", &distant] {
            let found = messages(&[(PAGE, TABLE), ("ecs/src/p.rs", text)]);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].contains("no SAFETY:"), "{}", found[0]);
        }
    }

    #[test]
    fn a_root_that_only_denies_is_found() {
        let lax =
            [("wire/src/lib.rs", "//! a\n#![deny(unsafe_code)]\n"), ("ecs/src/lib.rs", "//! b\n")];
        let findings = forbidden(&Tree::of_samples(&lax));
        assert_eq!(
            findings.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(),
            ["wire/src/lib.rs"]
        );
        let strict = [("twin/src/main.rs", "//! a\n#![forbid(unsafe_code)]\nfn main() {}\n")];
        assert_eq!(forbidden(&Tree::of_samples(&strict)), []);
    }
}
