//! Results: a figure that is published has a folder with its command, its host and its raw data, and a link to it.

use std::collections::BTreeSet;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::tree::{Finding, Tree};

/// What results/README.md asks of each folder; `raw` must hold at least one file.
const PARTS: [&str; 6] =
    ["README.md", "command.txt", "host.json", "raw", "summary.json", "summary.md"];

/// Folders of results/ that lack a part, and JSON in them that does not parse.
pub(crate) fn complete(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in folders(tree) {
        for part in PARTS {
            if !tree.contains(&format!("{folder}/{part}")) {
                findings.push(Finding::new(&folder, 0, format!("`{part}` is missing")));
            }
        }
        for name in ["host.json", "summary.json"] {
            let path = format!("{folder}/{name}");
            let parsed = tree.text(&path).map(serde_json::from_str::<serde_json::Value>);
            if let Some(Err(error)) = parsed {
                findings.push(Finding::new(&path, error.line(), format!("not JSON: {error}")));
            }
        }
    }
    findings
}

/// Rows of README.md's tables that publish a figure without a link into results/.
pub(crate) fn figures(tree: &Tree) -> Vec<Finding> {
    let text = tree.text("README.md").unwrap_or("");
    let mut findings = Vec::new();
    let mut row = Row::default();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::TableRow) => row = Row::default(),
            Event::Start(Tag::TableCell) => row.cells.push(String::new()),
            Event::Start(Tag::Link { dest_url, .. }) => {
                row.linked |= dest_url.starts_with("results/")
            }
            Event::Text(words) | Event::Code(words) => row.push(&words),
            Event::End(TagEnd::TableRow) if row.publishes() && !row.linked => {
                let line = text[..range.start].matches('\n').count() + 1;
                let message = "a figure without a link into results/ (a cell that opens with a number is one)";
                findings.push(Finding::new("README.md", line, message));
            }
            _ => {}
        }
    }
    findings
}

#[derive(Default)]
struct Row {
    cells: Vec<String>,
    linked: bool,
}

impl Row {
    fn push(&mut self, words: &str) {
        if let Some(cell) = self.cells.last_mut() {
            cell.push_str(words);
        }
    }

    /// The first cell names the row; a figure is another cell that opens with a number.
    fn publishes(&self) -> bool {
        let is_figure = |cell: &String| {
            let bare = cell.trim_start_matches([' ', '<', '>', '~', '≤', '≥', '+', '-']);
            bare.starts_with(|letter: char| letter.is_ascii_digit())
        };
        self.cells.iter().skip(1).any(is_figure)
    }
}

fn folders(tree: &Tree) -> BTreeSet<String> {
    let below = tree.paths().filter_map(|path| path.strip_prefix("results/"));
    below
        .filter_map(|path| path.split_once('/'))
        .map(|(name, _)| format!("results/{name}"))
        .collect()
}

#[test]
fn an_incomplete_folder_is_found() {
    let whole = PARTS.map(|part| (format!("results/one/{part}"), "{}".to_owned()));
    for missing in PARTS {
        let kept = whole.iter().filter(|(path, _)| !path.ends_with(&format!("/{missing}")));
        let samples: Vec<(&str, &str)> =
            kept.map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let findings = complete(&Tree::of_samples(&samples));
        assert_eq!(findings, [Finding::new("results/one", 0, format!("`{missing}` is missing"))]);
    }
}

#[test]
fn a_summary_that_is_not_json_is_found() {
    let samples = PARTS.map(|part| (format!("results/one/{part}"), "p99 = 3"));
    let samples: Vec<(&str, &str)> =
        samples.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let findings = complete(&Tree::of_samples(&samples));
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(paths, ["results/one/host.json", "results/one/summary.json"]);
}

#[test]
fn a_figure_without_its_result_is_found() {
    let page = "| what | Pollux |\n|---|---|\n| p99 | 3 us |\n| p50 | [1 us](results/one) |\n| folder | the rest |\n| a | ~7 |\n";
    let findings = figures(&Tree::of_samples(&[("README.md", page)]));
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3, 6]);
}
