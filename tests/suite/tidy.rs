//! The rules of the house (ARCHITECTURE.md) as tests.

use std::path::{Path, PathBuf};

use camarad_tests::app::stack::repository;

/// About 400 lines is a sign to split; this is where the sign becomes a wall.
const MAX_LINES: usize = 450;
const MAX_FUNCTION_LINES: usize = 70;

fn rust_files(under: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&repository().join(under), &mut found);
    assert!(!found.is_empty(), "no Rust files under {under}");
    found
}

fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// Lines that are code, without comments and without a file's `#[cfg(test)]` module at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l))
        .filter(|(_, l)| !l.trim_start().starts_with("//"))
}

/// Fails with every line of `files` that has one of `words`, outside of the files named in `homes`.
fn forbid(files: &[(PathBuf, String)], words: &[&str], homes: &[&str], why: &str) {
    let mut hits = Vec::new();
    for (path, text) in files {
        let shown = path.strip_prefix(repository()).unwrap().display().to_string();
        if homes.iter().any(|home| shown.starts_with(home)) {
            continue;
        }
        for (n, line) in code(text) {
            if let Some(word) = words.iter().find(|w| line.contains(**w)) {
                hits.push(format!("{shown}:{n}: {word}"));
            }
        }
    }
    assert!(hits.is_empty(), "{why}:\n{}", hits.join("\n"));
}

#[test]
fn the_domain_knows_neither_http_nor_the_aws_sdk() {
    let why = "domain → store, ports; never HTTP, AWS or a function";
    forbid(
        &rust_files("shared/src/domain"),
        &[
            "axum",
            "aws_sdk_",
            "aws_config",
            "lambda_http",
            "lambda_runtime",
            "crate::http",
            "crate::lambda",
            "reqwest",
        ],
        &[],
        why,
    );
}

#[test]
fn the_store_and_ports_know_no_layer_above_them() {
    let words = [
        "crate::http",
        "crate::domain",
        "crate::lambda",
        "crate::app",
        "axum",
    ];
    forbid(&rust_files("shared/src/store"), &words, &[], "store → AWS SDK");
    forbid(
        &rust_files("shared/src/ports"),
        &words[..1],
        &[],
        "ports → AWS SDK",
    );
}

#[test]
fn only_store_ports_and_wiring_touch_the_aws_sdk() {
    let homes = ["shared/src/store", "shared/src/ports", "shared/src/app.rs"];
    forbid(
        &rust_files("shared/src"),
        &["aws_sdk_", "aws_config"],
        &homes,
        "the AWS SDK stays in store and ports",
    );
    forbid(
        &rust_files("functions"),
        &["aws_sdk_", "aws_config", "reqwest"],
        &[],
        "functions use the library alone",
    );
}

#[test]
fn keys_are_made_in_one_file() {
    let files = rust_files("shared/src");
    forbid(
        &files,
        &["Key::raw("],
        &["shared/src/store"],
        "keys are made in store/keys",
    );
    let prefixes = [
        "\"USER#",
        "\"WS#",
        "\"AGENT#",
        "\"LEDGER#",
        "\"CALL#",
        "\"OUTBOX#",
        "\"AUDIT#",
        "\"SEAL#",
        "\"CHAIN#",
        "\"ONCE#",
        "\"CNV#",
        "\"USAGE#",
        "\"STATS#",
    ];
    forbid(
        &files,
        &prefixes,
        &["shared/src/store/keys/"],
        "key prefixes are known to store/keys alone",
    );
    forbid(
        &rust_files("functions"),
        &prefixes,
        &[],
        "key prefixes are known to store/keys alone",
    );
}

#[test]
fn functions_do_not_depend_on_each_other() {
    let names: Vec<String> = std::fs::read_dir(repository().join("functions"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in &names {
        let manifest =
            std::fs::read_to_string(repository().join(format!("functions/{name}/Cargo.toml"))).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        for other in names.iter().filter(|o| *o != name) {
            assert!(
                !dependencies
                    .lines()
                    .any(|l| l.starts_with(&format!("{other}.")) || l.starts_with(&format!("{other} "))),
                "{name} depends on {other}"
            );
        }
        let main =
            std::fs::read_to_string(repository().join(format!("functions/{name}/src/main.rs"))).unwrap();
        assert!(
            main.lines().count() <= 20,
            "functions/{name}/src/main.rs is more than wiring"
        );
    }
}

#[test]
fn files_stay_small() {
    let mut long = Vec::new();
    for folder in ["shared/src", "functions", "tests"] {
        for (path, text) in rust_files(folder) {
            let lines = text.lines().count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "split these:\n{}", long.join("\n"));
}

#[test]
fn functions_stay_short() {
    let mut long = Vec::new();
    for folder in ["shared/src", "functions"] {
        for (path, text) in rust_files(folder) {
            let mut start: Option<(usize, usize, String)> = None;
            for (n, line) in text.lines().enumerate() {
                let indent = line.len() - line.trim_start().len();
                let head = line
                    .trim_start()
                    .trim_start_matches("pub(super) ")
                    .trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ")
                    .trim_start_matches("async ");
                if start.is_none() && head.starts_with("fn ") && !line.trim_end().ends_with(';') {
                    start = Some((n, indent, head.chars().take(40).collect()));
                }
                if let Some((from, depth, name)) = &start
                    && line == format!("{}}}", " ".repeat(*depth))
                {
                    if n - from + 1 > MAX_FUNCTION_LINES {
                        long.push(format!(
                            "{}:{}: {name} ({} lines)",
                            path.display(),
                            from + 1,
                            n - from + 1
                        ));
                    }
                    start = None;
                }
            }
        }
    }
    assert!(long.is_empty(), "shorten these:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_to_do_or_switched_off() {
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("allow(dead", "_code"),
    ];
    for folder in ["shared/src", "functions", "tests/suite", "tests/src"] {
        forbid(&rust_files(folder), &words, &[], "nothing may be left undone");
    }
}

#[test]
fn every_dependency_has_its_version_in_the_workspace() {
    for folder in ["shared", "tests"].into_iter().map(str::to_owned).chain(
        std::fs::read_dir(repository().join("functions"))
            .unwrap()
            .map(|e| format!("functions/{}", e.unwrap().file_name().to_string_lossy())),
    ) {
        let manifest = std::fs::read_to_string(repository().join(&folder).join("Cargo.toml")).unwrap();
        let dependencies = manifest
            .split("dependencies]")
            .skip(1)
            .flat_map(|s| s.split("\n[").next().unwrap_or_default().lines());
        for line in dependencies.filter(|l| l.contains('=') && !l.trim_start().starts_with('#')) {
            assert!(line.contains("workspace = true"), "{folder}/Cargo.toml: {line}");
        }
    }
}
