//! Dashboards and alerts of `deploy`: their queries name metrics and labels that the twin exposes, and each alert has its page.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use twin::metrics;

fn read(page: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `expr` of the panels, with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |t| (title.clone(), t["expr"].as_str().unwrap().to_owned()))
    };
    panels.iter().flat_map(targets).collect()
}

/// Every expression and every page of the rules; each stands on one line of its own.
fn rules(text: &str) -> Vec<(String, String, String)> {
    let after = |line: &str, key: &str| line.trim().strip_prefix(key).map(str::to_owned);
    let mut found = Vec::new();
    let (mut alert, mut expr) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(name) = after(line, "- alert: ") {
            alert = name;
        } else if let Some(text) = after(line, "expr: ") {
            expr = text;
        } else if let Some(page) = after(line, "runbook_url: ") {
            found.push((std::mem::take(&mut alert), std::mem::take(&mut expr), page));
        }
    }
    found
}

/// Words of a query that begin as metrics of this process do.
fn words(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("pollux_") || word.starts_with("process_"))
}

fn assert_known(place: &str, query: &str) {
    let known: BTreeSet<&str> = metrics::names().collect();
    assert!(words(query).next().is_some() || query.contains("up{"), "{place}: {query}");
    for word in words(query) {
        let family = word.strip_suffix("_bucket").unwrap_or(word);
        assert!(known.contains(family), "{place}: {word} is no metric of the twin");
    }
    let opened = query.matches('(').count();
    assert_eq!(opened, query.matches(')').count(), "{place}: {query}");
}

#[test]
fn every_panel_asks_for_metrics_that_the_twin_exposes() {
    for name in ["runtime", "sensors"] {
        let text = read(&format!("grafana/dashboards/{name}.json"));
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(dashboard["uid"], format!("pollux-{name}"));
        let queries = queries(&dashboard);
        assert!(queries.len() > 10, "{name} has panels");
        for (title, query) in queries {
            assert_known(&format!("{name}, {title}"), &query);
            assert!(query.contains("$instance"), "{name}, {title}: {query}");
        }
        for panel in dashboard["panels"].as_array().unwrap() {
            let described = panel["type"] == "row" || panel["description"].is_string();
            assert!(described, "{name}: {} has a description", panel["title"]);
        }
    }
}

#[test]
fn every_alert_asks_for_metrics_of_the_twin_and_has_its_page() {
    let (text, pages) = (read("prometheus/alerts.yaml"), read("ALERTS.md"));
    let rules = rules(&text);
    assert_eq!(rules.len(), text.matches("- alert: ").count(), "every alert was read");
    assert_eq!(rules.len(), pages.matches("\n## ").count(), "every page has its alert");
    for (alert, expr, page) in rules {
        assert_known(&alert, &expr);
        assert_eq!(page, format!("deploy/ALERTS.md#{}", alert.to_lowercase()));
        assert!(pages.contains(&format!("\n## {alert}\n")), "{alert} has a page");
    }
}
