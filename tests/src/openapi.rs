//! The OpenAPI document of the whole API, put together from the routers of all functions. It is checked in as
//! clients/openapi.json, which `meta` serves and the clients are generated from.

use std::collections::{BTreeMap, BTreeSet};

use camarad::error::FieldError;
use camarad::http::caller::ACCESS_COOKIE;
use camarad::http::problem::Problem;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use crate::app::routers;
use crate::routes;

const DESCRIPTION: &str = "The backend of a SaaS in which people run AI agents. Every AI call is paid for in cbT, \
which a subscription grants; amounts are decimal strings with at most six places, never numbers.\n\nA browser signs in \
at `/api/auth/{provider}/login` and is known by its cookies; everything else sends the access token, or an API key, as a bearer token. \
Lists come in pages: `items`, and a `nextCursor` to send as `cursor` as long as there is one. A write that carries an \
`Idempotency-Key` is done once, however often it is sent within 24 hours. An error is an RFC 9457 problem: branch on its \
`code`. What a caller may not see does not exist for them: 404.";

/// Functions in the order of the reference, and what they are about.
const TAGS: [(&str, &str); 13] = [
    ("auth", "Signing in, and staying so."),
    (
        "users",
        "The caller's own profile, preferences and security: second factor, sessions, API keys, ways to sign in.",
    ),
    (
        "workspaces",
        "Workspaces and who is in them. Their number is limited by the owner's plan.",
    ),
    (
        "agents",
        "Agents, made from forty presets. Ten are active at once in a workspace.",
    ),
    (
        "runtime",
        "Talking to agents. Each call is charged exactly for what was produced.",
    ),
    (
        "billing",
        "Plans, subscriptions and packs of cbT. Cards are given to Stripe, on pages of Stripe's.",
    ),
    ("stripe-webhook", "What Stripe tells Camarad; for Stripe alone."),
    ("ledger", "What an account has, holds and has spent."),
    ("usage", "What AI calls used, call by call and over time."),
    (
        "audit",
        "What was done, by whom and from where: append-only, sealed into chains, exported with their proof.",
    ),
    ("notifications", "What happened that a person should know."),
    (
        "onboarding",
        "The first workspace, its agents and a subscription, in one go: all of it, or nothing.",
    ),
    ("meta", "Health, and the documents that describe the API."),
];

/// The document.
///
/// # Panics
/// When two functions describe one path, or one schema, differently.
pub fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = known_schemas();
    for (function, router) in routers::by_function() {
        let part = serde_json::to_value(router.get_openapi()).expect("a document");
        for (path, methods) in object(&part["paths"]) {
            let methods = object(methods)
                .clone()
                .into_iter()
                .map(|(method, operation)| (method, named(function, operation)));
            let taken = paths.entry(path.clone()).or_insert_with(|| json!({}));
            for (method, operation) in methods {
                assert!(taken[&method].is_null(), "{method} {path} is described twice");
                taken[&method] = operation;
            }
        }
        for (name, schema) in object(&part["components"]["schemas"]) {
            let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(known, schema, "two schemas are called {name}");
        }
    }
    state_security(&mut paths);
    share_items(&mut schemas);
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Camarad API", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION},
        "servers": [{"url": "/", "description": "Wherever this document was read."}],
        "security": [{"bearer": []}, {"cookie": []}],
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token of a sign-in."},
                "apiKey": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "cbk_live_…",
                    "description": "An API key. It needs the scope that the operation names; operations without this scheme take none.",
                },
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": ACCESS_COOKIE,
                    "description": "Set at sign-in. A write with cookies must come from the frontend's origin.",
                },
            },
        },
    });
    check(&document);
    document
}

/// The document as it is checked in.
pub fn text() -> String {
    serde_json::to_string_pretty(&document()).expect("JSON") + "\n"
}

fn object(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

/// The operation under a name that is unique in the API, and under its function's tag.
fn named(function: &str, mut operation: Value) -> Value {
    let own = operation["operationId"]
        .as_str()
        .expect("an operation has the name of its handler");
    operation["operationId"] = format!("{function}_{own}").into();
    operation["tags"] = json!([function]);
    for parameter in operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        never_null(&mut parameter["schema"]);
        bounded(parameter);
    }
    for (status, answer) in operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        let code = status
            .parse()
            .ok()
            .and_then(|s| http::StatusCode::from_u16(s).ok());
        let reason = code.and_then(|c| c.canonical_reason()).unwrap_or("Answer");
        // OpenAPI 3.1 requires a description, whether there is more to say or not.
        let described = answer["description"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        if !described {
            answer["description"] = reason.into();
        }
    }
    operation
}

/// A parameter may be absent and is never null: there is no way to send that.
fn never_null(schema: &mut Value) {
    let without = |types: &Value| -> Option<Value> {
        let kept: Vec<_> = types
            .as_array()?
            .iter()
            .filter(|t| *t != "null")
            .cloned()
            .collect();
        Some(if let [one] = kept.as_slice() {
            one.clone()
        } else {
            kept.into()
        })
    };
    if let Some(types) = without(&schema["type"]) {
        schema["type"] = types;
    }
    let other = |part: &&Value| part["type"] != "null";
    if let Some(only) = schema["oneOf"]
        .as_array()
        .and_then(|parts| parts.iter().find(other))
        .cloned()
    {
        *schema = only;
    }
}

/// The items of a page are the schema of that name, not a copy of it.
fn share_items(schemas: &mut BTreeMap<String, Value>) {
    let known = schemas.clone();
    for (name, schema) in schemas.iter_mut() {
        let Some(of) = name.strip_prefix("Page_") else {
            continue;
        };
        let items = &mut schema["properties"]["items"]["items"];
        if known.get(of) == Some(items) {
            *items = json!({"$ref": format!("#/components/schemas/{of}")});
        }
    }
}

fn known_schemas() -> BTreeMap<String, Value> {
    let problem = serde_json::to_value(Problem::schema()).expect("a schema");
    let field = serde_json::to_value(FieldError::schema()).expect("a schema");
    BTreeMap::from([("Problem".to_owned(), problem), ("FieldError".to_owned(), field)])
}

/// routes.tsv says who may call what, and with which scope of an API key.
fn state_security(paths: &mut Map<String, Value>) {
    for route in routes::live() {
        let operation = paths
            .get_mut(&route.path)
            .and_then(|p| p.get_mut(route.method.to_lowercase()));
        let Some(operation) = operation else {
            continue;
        };
        if route.audience == "public" {
            operation["security"] = json!([]);
        } else if route.scope != "-" {
            operation["security"] = json!([{"bearer": []}, {"apiKey": [route.scope]}, {"cookie": []}]);
        }
    }
}

/// What the code checks of parameters that many operations have.
fn bounded(parameter: &mut Value) {
    let schema = match parameter["name"].as_str() {
        Some("Idempotency-Key") => {
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7e]+$"})
        }
        Some("limit") => json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 50}),
        Some("cursor") => json!({"type": "string", "minLength": 1, "maxLength": 2048}),
        _ => return,
    };
    parameter["schema"] = schema;
}

/// Every reference leads somewhere, every operation has a name of its own, a summary and a success.
fn check(document: &Value) {
    let mut referred = BTreeSet::new();
    references(document, &mut referred);
    for name in referred {
        let name = name.strip_prefix("#/components/schemas/").unwrap_or(&name);
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "there is no schema {name}"
        );
    }
    let mut names = BTreeSet::new();
    for (path, methods) in object(&document["paths"]) {
        for (method, operation) in object(methods) {
            assert!(
                names.insert(operation["operationId"].to_string()),
                "{method} {path}: its name is taken"
            );
            assert!(
                operation["summary"].as_str().is_some_and(|s| !s.is_empty()),
                "{method} {path}: no summary"
            );
            let success = object(&operation["responses"])
                .keys()
                .any(|status| status.as_str() < "400");
            assert!(success, "{method} {path}: no answer of success");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}
