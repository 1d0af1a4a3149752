//! The functions' binaries, as `cargo build --workspace` leaves them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::app::stack::repository;

/// The folder that this test was built into, and the functions with it.
pub fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.ancestors().nth(2).expect("target/debug/deps/suite");
    profile.to_owned()
}

/// Panics with what to do when a function's binary is missing, or older than one of its sources.
pub fn check() {
    let functions = std::fs::read_dir(repository().join("functions")).expect("functions/");
    let mut names: Vec<_> = functions
        .map(|f| f.expect("a function").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let found = names.iter().find_map(|name| stale(&folder(), name));
    let why = found.unwrap_or_default();
    assert!(
        why.is_empty(),
        "{why}: run `cargo build --workspace` (`make test` does), then the tests again"
    );
}

/// What is wrong with a binary, if anything. Cargo notes beside it what it was made from.
fn stale(folder: &Path, name: &str) -> Option<String> {
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(built) = changed(&folder.join(name)) else {
        return Some(format!("the binary of the function {name} is missing"));
    };
    let noted = std::fs::read_to_string(folder.join(format!("{name}.d"))).unwrap_or_default();
    let newer = |source: &&PathBuf| changed(source).is_none_or(|at: SystemTime| at > built);
    let sources = sources(&noted);
    let source = sources.iter().find(newer)?;
    let source = source.strip_prefix(repository()).unwrap_or(source).display();
    Some(format!(
        "the binary of the function {name} is older than {source}"
    ))
}

/// The sources in a note of cargo's: `target: source source …`, where a space in a path is `\ `.
fn sources(note: &str) -> Vec<PathBuf> {
    let all = note.split_once(": ").map_or("", |(_, sources)| sources);
    let marked = all.trim_end().replace("\\ ", "\0");
    let paths = marked.split(' ').filter(|path| !path.is_empty());
    paths.map(|path| PathBuf::from(path.replace('\0', " "))).collect()
}
