//! The checked-in OpenAPI document is the one that the code describes.

use camarad::domain::users::preferences::NotificationType;
use camarad::store::record::Action;
use camarad_tests::app::stack::repository;
use camarad_tests::openapi;
use serde::Serialize;
use serde_json::{Value, json};

#[test]
fn the_document_is_in_step_with_the_code() {
    let path = repository().join("clients/openapi.json");
    let text = openapi::text();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    let line = checked_in.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        checked_in == text,
        "clients/openapi.json differs from the code from line {} on: UPDATE_OPENAPI=1 make test writes it",
        line.map_or(0, |n| n + 1)
    );
}

fn names<T: Serialize>(all: &[T]) -> Value {
    all.iter().map(|one| json!(one)).collect()
}

#[test]
fn what_goes_over_the_wire_by_name_is_documented_by_that_name() {
    let schemas = &openapi::document()["components"]["schemas"];
    assert_eq!(schemas["Action"]["enum"], names(Action::ALL));
    assert_eq!(schemas["NotificationType"]["enum"], names(NotificationType::ALL));
}

#[test]
fn whatever_takes_a_body_documents_what_a_wrong_one_gets() {
    let document = openapi::document();
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, of)| of.as_object().unwrap().iter().map(move |o| (path, o)));
    let mut looked_at = 0;
    for (path, (method, operation)) in operations.filter(|(_, (_, o))| o.get("requestBody").is_some()) {
        for status in ["400", "413", "415", "422"] {
            // What is signed is taken as it comes, whatever it says of its type.
            let as_it_comes = status == "415" && path == "/api/billing/webhook";
            let known = as_it_comes || operation["responses"].get(status).is_some();
            assert!(known, "{method} {path} may answer {status} and does not say so");
        }
        looked_at += 1;
    }
    assert!(looked_at > 15, "{looked_at}");
}
