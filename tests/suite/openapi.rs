//! The checked-in OpenAPI document is the one that the code describes.

use camarad_tests::app::stack::repository;
use camarad_tests::openapi;

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
