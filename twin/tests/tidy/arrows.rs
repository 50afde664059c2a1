//! Who may depend on whom: the picture of ARCHITECTURE.md, read from every Cargo.toml.
//!
//! Test and build dependencies follow the same arrows. A manifest in a folder without a row here is a finding, so that a
//! new crate has to say where it stands.

use toml::Table;

use super::tree::{Finding, Tree};

/// Folder of a manifest, and the crates of this house that it may depend on. The longest folder that fits decides.
const ARROWS: [(&str, &[&str]); 12] = [
    ("wire", &[]),
    ("wire/fuzz", &["wire"]),
    ("ecs", &[]),
    ("ecs/fuzz", &["ecs"]),
    ("netloop", &["wire"]),
    ("netloop/fuzz", &["netloop", "wire"]),
    ("twin", &["netloop", "ecs", "wire"]),
    ("twin/fuzz", &["twin", "netloop", "wire"]),
    ("sim", &["twin", "netloop", "ecs", "wire"]),
    // An operator's orders pass through all of the product.
    ("bench", &["twin", "netloop", "ecs", "wire"]),
    ("bench/peers", &["netloop", "ecs", "wire"]),
    // Other transports end in the product's own world and tick, so that a figure differs by the transport alone.
    ("bench/peers/transports", &["netloop", "twin", "wire"]),
];
const HOUSE: [&str; 6] = ["wire", "ecs", "netloop", "twin", "sim", "bench"];
const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Every arrow that points the wrong way.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("toml") {
        let Some(folder) = path.strip_suffix("/Cargo.toml") else { continue };
        let manifest: Table =
            text.parse().unwrap_or_else(|error| panic!("{path} does not parse: {error}"));
        let Some(allowed) = allowed(folder) else {
            findings.push(Finding::new(path, 0, "this crate has no row in the table of arrows"));
            continue;
        };
        for name in dependencies(&manifest) {
            if HOUSE.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                let message =
                    format!("`{folder}` must not depend on `{name}`, only on {allowed:?}");
                findings.push(Finding::new(path, line_of(text, &name), message));
            }
        }
    }
    findings
}

fn allowed(folder: &str) -> Option<&'static [&'static str]> {
    let fits = |row: &str| folder == row || folder.starts_with(&format!("{row}/"));
    let row = ARROWS.iter().filter(|(row, _)| fits(row)).max_by_key(|(row, _)| row.len());
    row.map(|(_, allowed)| *allowed)
}

/// Package names in every dependency table, the platform-specific ones included.
fn dependencies(manifest: &Table) -> Vec<String> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(|table| table.values());
    let tables = platforms.filter_map(toml::Value::as_table).chain([manifest]);
    tables.flat_map(named).collect()
}

fn named(table: &Table) -> Vec<String> {
    let sections = SECTIONS.iter().filter_map(|section| table.get(*section)?.as_table());
    let package = |(key, value): (&String, &toml::Value)| {
        let renamed = value.get("package").and_then(toml::Value::as_str);
        renamed.unwrap_or(key).to_owned()
    };
    sections.flat_map(|section| section.iter().map(package)).collect()
}

fn line_of(text: &str, name: &str) -> usize {
    let mentions =
        |line: &str| line.trim_start().starts_with(name) || line.contains(&format!("\"{name}\""));
    let skip_name = |line: &str| !line.trim_start().starts_with("name");
    text.lines().position(|line| mentions(line) && skip_name(line)).map_or(0, |index| index + 1)
}

#[test]
fn a_leaf_that_looks_up_is_found() {
    let tree = Tree::of_samples(&[("wire/Cargo.toml", "[dependencies]\necs.workspace = true\n")]);
    let findings = check(&tree);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].path.as_str(), findings[0].line), ("wire/Cargo.toml", 2));
}

#[test]
fn a_renamed_platform_dependency_is_found() {
    let text = "[target.'cfg(unix)'.dev-dependencies]\nroot = { package = \"twin\", path = \"../twin\" }\n";
    let findings = check(&Tree::of_samples(&[("bench/peers/one/Cargo.toml", text)]));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].line, 2);
}

#[test]
fn a_crate_without_a_row_is_found() {
    let findings = check(&Tree::of_samples(&[("common/Cargo.toml", "[dependencies]\n")]));
    assert_eq!(findings.len(), 1);
}

#[test]
fn allowed_arrows_pass() {
    let text = "[dependencies]\nwire = { path = \"../wire\" }\nbytemuck = \"1\"\n";
    assert_eq!(check(&Tree::of_samples(&[("netloop/Cargo.toml", text)])), []);
}
