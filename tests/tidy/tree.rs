//! The files of this repository as the rules see them, and how a broken rule is reported.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::scan::Tokens;

/// A text file, its path relative to the root and with `/` between the parts.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    pub(crate) fn tokens(&self) -> Tokens {
        Tokens::of(&self.text)
    }

    pub(crate) fn broken(&self, line: usize, rule: impl Into<String>) -> Broken {
        Broken { path: self.path.clone(), line, rule: rule.into() }
    }
}

/// A rule that a line of a file breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Broken {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) rule: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// Fails with one line for each broken rule.
#[track_caller]
pub(crate) fn assert_tidy(mut broken: Vec<Broken>) {
    broken.sort();
    broken.dedup();
    let lines: Vec<String> = broken.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} rules broken\n{}\n", lines.len(), lines.join("\n"));
}

/// Reads every text file of the repository, sorted by path.
pub(crate) fn files() -> io::Result<Vec<File>> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let relative = relative(&root, &path);
            if is_outside(&relative) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push(File { path: relative, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Returns the file at `path`, or an empty one, so that a missing file breaks the rules about its content.
pub(crate) fn find(files: &[File], path: &str) -> File {
    files.iter().find(|file| file.path == path).cloned().unwrap_or_else(|| File::new(path, ""))
}

/// The variable is read when the test runs, so that one build can judge another checkout.
fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// What git does not track, or is git itself.
fn is_outside(path: &str) -> bool {
    matches!(path, ".git" | "target" | "fuzz/target" | "fuzz/artifacts")
        || path.starts_with("fuzz/corpus/")
        || path.starts_with("proptest-regressions")
}
