//! The house rules that a machine can keep: each is a test that names file, line and limit.
//!
//! A rule reads the whole repository as text and returns findings; it never edits, builds or runs anything. Beside each
//! rule stands a sample that breaks it, so that no rule can pass because it sees nothing. What the rules mean for a
//! writer is in STYLE.md.

mod tidy {
    pub(crate) mod arrows;
    pub(crate) mod length;
    pub(crate) mod links;
    pub(crate) mod naming;
    pub(crate) mod results;
    pub(crate) mod shape;
    pub(crate) mod source;
    pub(crate) mod tree;
    pub(crate) mod unsafety;
}

use tidy::tree::{Finding, Tree};

/// Runs one rule over this repository and fails with every finding, not only the first.
fn holds(rule: fn(&Tree) -> Vec<Finding>) {
    let findings = rule(&Tree::of_repository());
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} finding(s):\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn the_tree_holds_what_the_rules_read() {
    let tree = Tree::of_repository();
    for path in ["Cargo.toml", "wire/src/lib.rs", "twin/tests/tidy.rs", "wire/PROTOCOL.md"] {
        assert!(tree.text(path).is_some_and(|text| !text.is_empty()), "{path} was not read");
    }
}

#[test]
fn crates_follow_the_arrows() {
    holds(tidy::arrows::check);
}

#[test]
fn functions_fit_on_a_screen() {
    holds(tidy::length::functions);
}

#[test]
fn files_hold_one_noun() {
    holds(tidy::length::files);
}

#[test]
fn the_library_stays_small() {
    holds(tidy::length::library);
}

#[test]
fn files_open_with_what_they_are() {
    holds(tidy::shape::openings);
}

#[test]
fn crate_roots_are_lists_of_names() {
    holds(tidy::shape::crate_roots);
}

#[test]
fn the_front_pages_exist() {
    holds(tidy::shape::front_pages);
}

#[test]
fn names_say_what_they_hold() {
    holds(tidy::naming::file_names);
}

#[test]
fn open_ends_have_an_owner() {
    holds(tidy::naming::open_ends);
}

#[test]
fn unsafe_stands_in_the_inventory_with_its_proof() {
    holds(tidy::unsafety::inventory);
}

#[test]
fn crates_without_unsafe_forbid_it() {
    holds(tidy::unsafety::forbidden);
}

#[test]
fn links_lead_somewhere() {
    holds(tidy::links::check);
}

#[test]
fn results_are_complete() {
    holds(tidy::results::complete);
}

#[test]
fn published_figures_link_to_their_results() {
    holds(tidy::results::figures);
}
