//! Links: every relative link and anchor of a Markdown page leads to a file or a heading that exists.
//!
//! Links to other hosts are not followed: a test must not need the network. Comments in the code that cite a section of
//! the protocol are links too.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::tree::{Finding, Tree};

const PROTOCOL: &str = "wire/PROTOCOL.md";
const CITATION: &str = concat!("PROTOCOL.md", "#");

/// Links and citations that lead nowhere.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("md") {
        for (line, target) in targets(text) {
            if let Err(message) = resolve(tree, path, &target) {
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    for (path, text) in tree.with_extension("rs") {
        for (index, line) in text.lines().enumerate() {
            if let Some(anchor) =
                citation(line).filter(|anchor| !has_anchor(tree, PROTOCOL, anchor))
            {
                let message = format!("{PROTOCOL} has no section #{anchor}");
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

/// Line and target of every link and image.
pub(crate) fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event {
            targets.push((text[..range.start].matches('\n').count() + 1, dest_url.into_string()));
        }
    }
    targets
}

fn resolve(tree: &Tree, page: &str, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { Some(page.to_owned()) } else { join(page, file) };
    let path = path.ok_or_else(|| format!("`{target}` leaves the repository"))?;
    if !tree.contains(&path) {
        return Err(format!("`{target}` leads nowhere: there is no {path}"));
    }
    if !anchor.is_empty() && !has_anchor(tree, &path, anchor) {
        return Err(format!("`{target}` leads nowhere: {path} has no heading #{anchor}"));
    }
    Ok(())
}

/// The path of `file` as seen from the folder of `page`; none when it climbs out of the repository.
fn join(page: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn has_anchor(tree: &Tree, path: &str, anchor: &str) -> bool {
    tree.text(path).is_some_and(|text| anchors(text).iter().any(|known| known == anchor))
}

/// The anchors that the usual forges make of headings: lower case, blanks to hyphens, punctuation away, repeats numbered.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(words) | Event::Code(words), Some(title)) => title.push_str(&words),
            (Event::End(TagEnd::Heading(_)), Some(title)) => {
                anchors.push(unused(&slug(title), &anchors));
                heading = None;
            }
            _ => {}
        }
    }
    anchors
}

fn slug(title: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    title.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn unused(slug: &str, anchors: &[String]) -> String {
    let numbered = (1..).map(|number| format!("{slug}-{number}"));
    let mut names = std::iter::once(slug.to_owned()).chain(numbered);
    names.find(|name| !anchors.contains(name)).expect("one is free because the numbers do not end")
}

fn citation(line: &str) -> Option<&str> {
    let (_, after) = line.split_once(CITATION)?;
    let end = after.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    Some(&after[..end.unwrap_or(after.len())])
}

#[test]
fn dead_links_are_found() {
    let page = "# A b\n\n[x](no.md) [y](#a-b) [z](#c)\n\n[r]: ../up.md\n\n| t |\n|---|\n| [r] |\n\n`[q](no.md)`\n";
    let findings = check(&Tree::of_samples(&[("README.md", page)]));
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3, 3, 9]);
}

#[test]
fn live_links_pass() {
    let page = "[f](../ecs) [g](../B.md#the-c--d) [h](https://example.org/none)\n";
    let tree =
        [("results/R.md", page), ("B.md", "## The `C` + D\n"), ("ecs/src/lib.rs", "//! e\n")];
    assert_eq!(check(&Tree::of_samples(&tree)), []);
}

#[test]
fn a_link_into_a_page_without_the_heading_is_found() {
    let tree = [("A.md", "[b](B.md#two)\n"), ("B.md", "# One\n\n```\n# two\n```\n")];
    assert_eq!(check(&Tree::of_samples(&tree)).len(), 1);
}

#[test]
fn a_citation_of_no_section_is_found() {
    let code = format!("//! See {CITATION}record.\n//! See {CITATION}recode.\n");
    let findings = check(&Tree::of_samples(&[("wire/src/a.rs", &code), (PROTOCOL, "## Record\n")]));
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
}

#[test]
fn repeated_headings_are_numbered() {
    assert_eq!(anchors("# A\n# A\n# A 1\n"), ["a", "a-1", "a-1-1"].map(str::to_owned));
}
