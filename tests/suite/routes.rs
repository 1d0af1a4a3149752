//! One list of routes, no drift: routes.tsv, the code's routers, template.yaml and the watch router say the same.

use std::collections::BTreeSet;
use std::process::Command;

use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::permissions::Permission;
use camarad_tests::app::stack::repository;
use camarad_tests::app::{routers, template};
use camarad_tests::routes;
use serde_yaml_ng::Value;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// `(function, GET /path)` of every operation in the code.
fn in_code() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (function, router) in routers::by_function() {
        let document = serde_json::to_value(router.get_openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in METHODS.iter().filter(|m| item.get(m).is_some()) {
                found.insert((function.to_owned(), format!("{} {path}", method.to_uppercase())));
            }
        }
    }
    found
}

#[test]
fn every_live_route_is_in_its_functions_router_and_no_other_is() {
    let listed: BTreeSet<_> = routes::live()
        .iter()
        .map(|r| (r.function.clone(), r.name()))
        .collect();
    let code = in_code();
    let missing: Vec<_> = listed.difference(&code).collect();
    let unlisted: Vec<_> = code.difference(&listed).collect();
    assert!(
        missing.is_empty() && unlisted.is_empty(),
        "not in the code: {missing:#?}\nnot in routes.tsv: {unlisted:#?}"
    );
}

#[test]
fn template_and_watch_router_are_written_from_the_list() {
    for script in ["infra/api.py", "infra/local/router.py"] {
        let out = Command::new("python3")
            .arg(repository().join(script))
            .arg("--check")
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{script}: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn the_template_routes_each_live_route_to_its_function_in_its_mode() {
    let paths = &template::template()["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"];
    for route in routes::live() {
        let operation = &paths[route.path.as_str()][route.method.to_lowercase().as_str()];
        let integration = &operation["x-amazon-apigateway-integration"];
        assert!(!integration.is_null(), "template.yaml lacks {}", route.name());
        let uri = match &integration["uri"] {
            Value::Tagged(sub) => sub.value.as_str().unwrap(),
            other => panic!("{}: {other:?}", route.name()),
        };
        assert!(
            uri.contains(&format!("-{}/", route.function)),
            "{} goes to {uri}",
            route.name()
        );
        let streams = integration["responseTransferMode"].as_str() == Some("STREAM");
        assert_eq!(streams, route.mode == "stream", "{}: transfer mode", route.name());
    }
    let listed: BTreeSet<_> = routes::live().iter().map(|r| r.path.clone()).collect();
    for (path, _) in paths.as_mapping().unwrap() {
        let path = path.as_str().unwrap();
        assert!(
            listed.contains(path) || path == "/" || path.contains("{proxy+}"),
            "template.yaml has {path}, routes.tsv has not"
        );
    }
}

#[test]
fn every_permission_of_the_list_is_in_the_table_of_permissions() {
    let known: BTreeSet<_> = Permission::ALL.iter().map(|p| p.as_str()).collect();
    for route in routes::live().iter().filter(|r| r.permission != "-") {
        assert!(
            known.contains(route.permission.as_str()),
            "{}: {}",
            route.name(),
            route.permission
        );
    }
}

#[test]
fn every_scope_of_the_list_is_one_that_a_key_can_have() {
    for route in routes::live() {
        let known = KeyScope::parse(&route.scope).is_some();
        assert!(known || route.scope == "-", "{}: {}", route.name(), route.scope);
        let closed = ["public", "operator", "webhook"].contains(&route.audience.as_str());
        assert!(!(known && closed), "{} is for no key", route.name());
        let of_services = KeyScope::parse(&route.scope).is_some_and(KeyScope::is_of_services);
        assert_eq!(of_services, route.audience == "internal", "{}", route.name());
    }
}

#[test]
fn reads_take_no_idempotency_key_and_writes_do() {
    for route in routes::live() {
        match (route.is_write(), route.idempotency.as_str()) {
            (false, "-") | (true, "optional" | "required" | "own") => {}
            (_, other) => panic!("{}: idempotency {other}", route.name()),
        }
    }
}

#[test]
fn exactly_the_routes_that_move_money_require_an_idempotency_key() {
    let required: Vec<_> = routes::live()
        .into_iter()
        .filter(|r| r.idempotency == "required")
        .map(|r| r.name())
        .collect();
    assert_eq!(
        required,
        [
            "POST /api/ledger/grant",
            "POST /api/agents/{id}/chat",
            "POST /api/agents/{id}/stream",
            "POST /api/billing/change-plan",
            "POST /api/billing/checkout",
            "POST /api/billing/topup",
            "POST /api/ledger/consume",
            "POST /api/ledger/refund",
            "POST /api/onboarding/complete",
        ]
    );
}
