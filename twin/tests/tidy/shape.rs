//! The shape of files: each opens with what it is, a library root is a list of names, the front pages are there.

use super::source;
use super::tree::{Finding, Tree};

/// What a stranger, a packager or a lawyer looks for first.
const FRONT_PAGES: [&str; 9] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "STYLE.md",
    "deny.toml",
    "results/README.md",
    "wire/PROTOCOL.md",
];

/// Rust files whose first line is not a sentence about them.
pub(crate) fn openings(tree: &Tree) -> Vec<Finding> {
    let silent = |text: &str| {
        let opening = text.lines().next().and_then(|line| line.strip_prefix("//! "));
        opening.is_none_or(|sentence| sentence.trim().is_empty())
    };
    let files = tree.with_extension("rs").filter(|(_, text)| silent(text));
    files
        .map(|(path, _)| Finding::new(path, 1, "the first line is not `//! ` and a sentence"))
        .collect()
}

/// Items of a `lib.rs` that are neither a module in a file of its own, nor a re-export, a constant or a test.
pub(crate) fn crate_roots(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs").filter(|(path, _)| path.ends_with("src/lib.rs")) {
        for item in &source::parse(path, text).items {
            if !is_name(item) {
                let line = syn::spanned::Spanned::span(item).start().line;
                findings.push(Finding::new(
                    path,
                    line,
                    "lib.rs holds `mod`, `use` and constants only",
                ));
            }
        }
    }
    findings
}

/// Front pages that are missing.
pub(crate) fn front_pages(tree: &Tree) -> Vec<Finding> {
    let missing = FRONT_PAGES.iter().filter(|page| !tree.contains(page));
    missing.map(|page| Finding::new(page, 0, "this page must exist")).collect()
}

fn is_name(item: &syn::Item) -> bool {
    match item {
        syn::Item::Use(_) | syn::Item::Const(_) => true,
        syn::Item::Mod(module) => module.content.is_none() || source::is_test_only(&module.attrs),
        _ => false,
    }
}

#[test]
fn a_file_that_opens_with_code_is_found() {
    for bad in ["", "use std::fmt;\n//! late\n", "// not a doc\n", "//!\n//! second\n"] {
        let findings = openings(&Tree::of_samples(&[("ecs/src/a.rs", bad)]));
        assert_eq!(findings.len(), 1, "{bad:?}");
    }
    assert_eq!(openings(&Tree::of_samples(&[("ecs/src/a.rs", "//! A row.\n")])), []);
}

#[test]
fn a_library_root_with_code_is_found() {
    let text = "//! a\nmod b;\npub use b::C;\n#[cfg(test)]\nmod tests { fn f() {} }\nconst D: u8 = 1;\nstruct E;\n";
    let findings = crate_roots(&Tree::of_samples(&[("ecs/src/lib.rs", text)]));
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [7]);
    let inline = "//! a\nmod b { fn f() {} }\n";
    assert_eq!(crate_roots(&Tree::of_samples(&[("ecs/src/lib.rs", inline)])).len(), 1);
}

#[test]
fn a_missing_page_is_found() {
    let findings = front_pages(&Tree::of_samples(&[("STYLE.md", "# Style\n")]));
    assert_eq!(findings.len(), FRONT_PAGES.len() - 1);
}
