//! Lengths: a function fits on a screen, a file holds one noun, a crate root is a table of contents.

use super::source;
use super::tree::{Finding, Tree};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const LIB_LINES_MAX: usize = 150;
const MAIN_LINES_MAX: usize = 80;
const ECS_CODE_LINES_MAX: usize = 3_000;

/// Functions and macros above the limit, those of tests included: the tail is what makes code ugly.
pub(crate) fn functions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        for body in source::bodies(&source::parse(path, text)) {
            if body.lines > FUNCTION_LINES_MAX {
                let message = format!(
                    "`{}` has {} lines, at most {FUNCTION_LINES_MAX}",
                    body.name, body.lines
                );
                findings.push(Finding::new(path, body.line, message));
            }
        }
    }
    findings
}

/// Files above the limit, without their test modules; folders of tests and benchmarks may be longer.
pub(crate) fn files(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        if path.split('/').any(|part| part == "tests" || part == "benches") {
            continue;
        }
        let lines = text.lines().count() - source::test_lines(&source::parse(path, text));
        let limit = limit(path);
        if lines > limit {
            findings.push(Finding::new(path, limit, format!("{lines} lines, at most {limit}")));
        }
    }
    findings
}

/// Code of `ecs/src` above its limit: the library is small, and stays so. Tests, comments, attributes and lines without a
/// letter or a digit, which are blank or close a bracket, do not count: they are there for people and for the formatter.
pub(crate) fn library(tree: &Tree) -> Vec<Finding> {
    let files = tree.with_extension("rs").filter(|(path, _)| path.starts_with("ecs/src/"));
    let lines: usize = files.map(|(_, text)| code_lines(text)).sum();
    let message = format!("{lines} lines of code, at most {ECS_CODE_LINES_MAX}");
    let above = lines > ECS_CODE_LINES_MAX;
    above.then(|| Finding::new("ecs/src", ECS_CODE_LINES_MAX, message)).into_iter().collect()
}

fn code_lines(text: &str) -> usize {
    let lines = text.lines().map(str::trim).take_while(|line| *line != "#[cfg(test)]");
    let code = lines.filter(|line| !line.starts_with("//") && !line.starts_with("#["));
    code.filter(|line| line.contains(char::is_alphanumeric)).count()
}

fn limit(path: &str) -> usize {
    match path.rsplit('/').next() {
        Some("lib.rs") => LIB_LINES_MAX,
        Some("main.rs") => MAIN_LINES_MAX,
        _ => FILE_LINES_MAX,
    }
}

#[test]
fn a_long_function_is_found_where_it_starts() {
    let long = |lines: usize| {
        format!("\n/// Doc.\n#[inline]\nfn f() {{\n{}}}\n", "    ();\n".repeat(lines - 2))
    };
    let path = "netloop/tests/a.rs";
    let findings = functions(&Tree::of_samples(&[(path, &long(71))]));
    assert_eq!(findings, [Finding::new(path, 4, "`f` has 71 lines, at most 70")]);
    assert_eq!(functions(&Tree::of_samples(&[(path, &long(70))])), []);
}

#[test]
fn long_methods_defaults_and_macros_are_found() {
    let fill = "    ();\n".repeat(70);
    let samples = [
        format!("impl S {{\nfn f() {{\n{fill}}}\n}}\n"),
        format!("trait T {{\nfn f() {{\n{fill}}}\n}}\n"),
        format!("mod m {{\nmacro_rules! f {{\n() => {{\n{fill}}};\n}}\n}}\n"),
    ];
    for sample in &samples {
        let findings = functions(&Tree::of_samples(&[("ecs/src/a.rs", sample)]));
        assert_eq!(
            findings.iter().map(|finding| finding.line).collect::<Vec<_>>(),
            [2],
            "{sample}"
        );
    }
}

#[test]
fn a_library_that_outgrows_its_limit_is_found() {
    let text = |lines: usize| {
        format!(
            "//! a\n\n{}#[cfg(test)]\nmod tests {{\n}}\n",
            "#[inline]\nfn f() {\n}\n\n".repeat(lines)
        )
    };
    let of = |lines: usize| {
        let (one, other) = (text(lines - 1), text(1));
        library(&Tree::of_samples(&[("ecs/src/a.rs", &one), ("ecs/src/b.rs", &other)])).len()
    };
    assert_eq!([of(ECS_CODE_LINES_MAX), of(ECS_CODE_LINES_MAX + 1)], [0, 1]);
}

#[test]
fn each_kind_of_file_has_its_limit() {
    for (path, limit) in [("ecs/src/a.rs", 800), ("ecs/src/lib.rs", 150), ("twin/src/main.rs", 80)]
    {
        let tests = "#[cfg(test)]\nmod tests {\n\n\n}\n";
        let text = |lines: usize| format!("{}{tests}", "//! a\n".repeat(lines));
        assert_eq!(files(&Tree::of_samples(&[(path, &text(limit))])), []);
        assert_eq!(files(&Tree::of_samples(&[(path, &text(limit + 1))])).len(), 1, "{path}");
    }
    let bench = "//! a\n".repeat(900);
    assert_eq!(files(&Tree::of_samples(&[("ecs/benches/a.rs", &bench)])), []);
}
