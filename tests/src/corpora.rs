//! Hostile input that others have collected: JSONTestSuite and the Big List of Naughty Strings (tests/corpora).

use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::app::stack::repository;

/// One text of JSONTestSuite. Its name begins with `y_` where every parser must accept it, `n_` where none may, and
/// otherwise says neither.
#[derive(Debug, Deserialize)]
pub struct Json {
    pub name: String,
    pub input: String,
}

/// Both collections.
#[derive(Debug, Deserialize)]
pub struct Corpora {
    pub json: Vec<Json>,
    pub strings: Vec<String>,
}

static CORPORA: LazyLock<Corpora> = LazyLock::new(|| {
    let script = repository().join("tests/corpora/print.mjs");
    let printed = Command::new("node").arg(&script).output().expect("node runs");
    assert!(
        printed.status.success(),
        "{}: run `make setup`\n{}",
        script.display(),
        String::from_utf8_lossy(&printed.stderr)
    );
    serde_json::from_slice(&printed.stdout).expect("the collections")
});

/// The collections.
pub fn corpora() -> &'static Corpora {
    &CORPORA
}
