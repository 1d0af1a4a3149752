//! What SECURITY.md says is shown, and what of it needs no story elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use camarad_tests::app::TestApp;
use camarad_tests::app::stack::repository;
use camarad_tests::app::template::template;
use camarad_tests::{openapi, routes};

fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" {
            functions(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let head = line.trim_start_matches("async ");
                if let Some(rest) = head.strip_prefix("fn ").filter(|_| is_test) {
                    found.insert(rest.split(['(', '<']).next().unwrap().to_owned());
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn each_test_that_stands_for_a_requirement_exists() {
    let mut known = BTreeSet::new();
    for folder in ["shared/src", "functions", "tests"] {
        functions(&repository().join(folder), &mut known);
    }
    let text = std::fs::read_to_string(repository().join("SECURITY.md")).unwrap();
    let rows: Vec<_> = text.lines().filter(|l| l.starts_with("| V")).collect();
    assert!(rows.len() >= 120, "{}", rows.len());
    let ids: BTreeSet<_> = rows.iter().filter_map(|r| r.split('|').nth(1)).collect();
    assert_eq!(ids.len(), rows.len(), "each row is told once");
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let shown = cells[3];
        let words = |text: &str| shown.split(text).nth(1).is_some_and(|why| why.len() > 20);
        let said = shown.starts_with("later: ") || (shown.starts_with("not met") && words("not met"));
        let chapter = shown
            .split("below, \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        if let Some(chapter) = chapter {
            assert!(text.contains(&format!("\n### {chapter}\n")), "{row}");
        }
        let named: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        assert!(said || chapter.is_some() || !named.is_empty(), "{row}");
        // Among words that tell a route or a file, a test is told by its underscores.
        for name in named.into_iter().filter(|n| n.contains('_') && !n.contains('/')) {
            assert!(known.contains(name), "{}: there is no test {name}", cells[1]);
        }
    }
}

#[test]
fn a_secret_is_not_in_the_environment() {
    let resources = template()["Resources"].as_mapping().unwrap();
    let mut seen = 0;
    for (name, resource) in resources {
        let variables = &resource["Properties"]["Environment"]["Variables"];
        for (variable, value) in variables.as_mapping().into_iter().flatten() {
            let (variable, value) = (variable.as_str().unwrap(), format!("{value:?}"));
            seen += 1;
            let reference = value.contains("!GetAtt") || value.contains("!Ref");
            assert!(
                reference || !variable.ends_with("_SECRET"),
                "{name:?} {variable}: {value}"
            );
            let suspicious = [
                "resolve:secretsmanager",
                "resolve:ssm-secure",
                "password",
                "PrivateKey",
            ];
            assert!(
                !suspicious.iter().any(|s| value.contains(s)),
                "{name:?} {variable}: {value}"
            );
        }
    }
    assert!(seen > 0, "the template gives functions their environment");
}

#[test]
fn no_route_takes_a_secret_in_its_address() {
    let document = openapi::document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap().to_lowercase();
                let in_address = parameter["in"] == "query" || parameter["in"] == "path";
                let secret = [
                    "password",
                    "secret",
                    "apikey",
                    "accesstoken",
                    "refreshtoken",
                    "key",
                ];
                assert!(
                    !in_address || !secret.contains(&name.as_str()),
                    "{method} {path}: {name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused() {
    let t = TestApp::new().await;
    let live = routes::live();
    for path in live.iter().map(|r| &r.path).collect::<BTreeSet<_>>() {
        for method in ["TRACE", "CONNECT", "PUT", "PATCH", "DELETE", "POST", "SEARCH"] {
            if live.iter().any(|r| r.path == *path && r.method == method) {
                continue;
            }
            let filled = path.replace(['{', '}'], "");
            let answer = t.anonymous().send(method, &filled, None).await;
            answer.assert_problem(405, "method_not_allowed");
        }
    }
}
