//! The repository as the rules see it: relative paths and the text of the files that a rule reads.
//!
//! Build output, version control and the captures inside `results/*/raw` are not read; their paths are listed all the
//! same where they lie inside the tree. A tree can also be made of samples, which is how a rule is shown to fail.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// Folders that are produced, not written: git ignores them too.
const SKIPPED: [&str; 6] = ["target", ".git", "certs", "report", "corpus", "artifacts"];
/// What the rules read. Everything else is listed by its path only.
const READ: [&str; 5] = ["rs", "md", "toml", "sh", "json"];

/// All files of a repository, in the order of their paths.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

/// One place where a rule does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// First line is 1; 0 speaks of the whole file.
    pub(crate) line: usize,
    /// What is wrong, with the limit.
    pub(crate) message: String,
}

impl Tree {
    /// Reads the repository that this crate belongs to.
    pub(crate) fn of_repository() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = BTreeMap::new();
        walk(&root, "", &mut files);
        Self { files }
    }

    /// A tree of samples: path and text.
    pub(crate) fn of_samples(samples: &[(&str, &str)]) -> Self {
        let files = samples.iter().map(|(path, text)| (path.to_string(), text.to_string()));
        Self { files: files.collect() }
    }

    /// Paths and texts of the files whose name ends in `.extension`.
    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        let suffix = format!(".{extension}");
        let files = self.files.iter().filter(move |(path, _)| path.ends_with(&suffix));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The paths of all files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The text of a file; none if there is no such file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file, or a folder with at least one file in it, has this path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&folder))
    }
}

impl Finding {
    /// A finding at a line of a file.
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{prefix}: {error}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{prefix}: {error}"));
        let name = entry.file_name().into_string().expect("a path of this house is UTF-8");
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().unwrap_or_else(|error| panic!("{path}: {error}"));
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), &path, files);
        } else if kind.is_file() {
            let text = if is_read(&path) { read(&entry.path()) } else { String::new() };
            files.insert(path, text);
        }
    }
}

fn is_read(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    READ.contains(&extension) && !(path.starts_with("results/") && path.contains("/raw/"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_folder_exists_when_a_file_lies_in_it() {
    let tree = Tree::of_samples(&[("results/one/raw/a.csv", "")]);
    assert!(tree.contains("results/one/raw"));
    assert!(!tree.contains("results/on"));
}
