//! The reference at `/docs`: one page of plain HTML, rendered once from the OpenAPI document. Nothing is fetched from
//! anywhere, no script runs, and the page's policy admits its one style sheet by its hash alone.

use std::fmt::Write;
use std::sync::LazyLock;

use camarad::html::{escaped, policy};
use serde_json::Value;

use crate::OPENAPI;
use crate::document::{Body, Document, Operation, Parameter, referred};

const STYLE: &str = include_str!("docs.css");

/// The page.
pub(crate) static PAGE: LazyLock<String> =
    LazyLock::new(|| page(&serde_json::from_str(OPENAPI).unwrap_or_default()));

/// The page's Content-Security-Policy (CSP Level 3).
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| policy(STYLE, "'none'"));

/// Prose: paragraphs, with `code` as code.
fn prose(text: &str) -> String {
    let paragraph = |text: &str| {
        let mut html = String::new();
        for (n, part) in escaped(text).split('`').enumerate() {
            let _ = if n % 2 == 0 {
                write!(html, "{part}")
            } else {
                write!(html, "<code>{part}</code>")
            };
        }
        format!("<p>{html}</p>")
    };
    text.split("\n\n")
        .filter(|p| !p.trim().is_empty())
        .map(paragraph)
        .collect()
}

fn page(document: &Document) -> String {
    let title = escaped(&document.info.title);
    let mut navigation = String::new();
    let mut sections = String::new();
    for tag in &document.tags {
        let operations: Vec<_> = document.operations(&tag.name).collect();
        if operations.is_empty() {
            continue;
        }
        let name = escaped(&tag.name);
        let _ = write!(navigation, "<li><a href=\"#{name}\">{name}</a><ul>");
        let _ = write!(
            sections,
            "<section id=\"{name}\"><h2>{name}</h2>{}",
            prose(&tag.description)
        );
        for (path, method, operation) in operations {
            let _ = write!(
                navigation,
                "<li><a href=\"#{}\">{}</a></li>",
                escaped(&operation.operation_id),
                escaped(&operation.summary)
            );
            sections.push_str(&rendered(path, method, operation));
        }
        navigation.push_str("</ul></li>");
        sections.push_str("</section>");
    }
    let schemas: String = document
        .components
        .schemas
        .iter()
        .map(|(name, schema)| definition(name, schema))
        .collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\
         <nav><strong>{title}</strong><ul>{navigation}<li><a href=\"#schemas\">schemas</a></li></ul></nav><main>\
         <h1>{title} <small>{}</small></h1>{}<p>Machines read <a href=\"openapi.json\">openapi.json</a>.</p>{sections}\
         <section id=\"schemas\"><h2>schemas</h2>{schemas}</section></main></body></html>",
        escaped(&document.info.version),
        prose(&document.info.description),
    )
}

fn rendered(path: &str, method: &str, operation: &Operation) -> String {
    let method = escaped(method);
    let open = operation.security.as_ref().is_some_and(Vec::is_empty);
    let public = if open {
        " <span class=\"public\">public</span>"
    } else {
        ""
    };
    let mut html = format!(
        "<article id=\"{}\"><h3><span class=\"method {method}\">{method}</span> <code>{}</code>{public}</h3>\
         <p class=\"summary\">{}</p>{}",
        escaped(&operation.operation_id),
        escaped(path).replace('/', "/<wbr>"),
        escaped(&operation.summary),
        prose(&operation.description),
    );
    if !operation.parameters.is_empty() {
        let rows: String = operation.parameters.iter().map(parameter).collect();
        let _ = write!(html, "<table><caption>Parameters</caption>{rows}</table>");
    }
    if let Some(body) = &operation.request_body {
        let _ = write!(html, "<table><caption>Body</caption>{}</table>", media(body, ""));
    }
    let (done, problems): (Vec<_>, Vec<_>) = operation
        .responses
        .iter()
        .partition(|(status, _)| status.as_str() < "400");
    let rows: String = done
        .into_iter()
        .map(|(status, body)| media(body, status))
        .collect();
    let _ = write!(html, "<table><caption>Answers</caption>{rows}</table>");
    if !problems.is_empty() {
        let each = problems.into_iter().map(|(status, body)| {
            format!(
                "<li><b>{}</b> {}</li>",
                escaped(status),
                escaped(&body.description)
            )
        });
        let _ = write!(
            html,
            "<details><summary>Problems</summary><ul class=\"problems\">{}</ul></details>",
            each.collect::<String>()
        );
    }
    html + "</article>"
}

fn row(name: &str, kind: &str, note: &str, text: &str) -> String {
    format!("<tr><th>{name}<i>{note}</i></th><td class=\"kind\">{kind}</td><td>{text}</td></tr>")
}

fn parameter(parameter: &Parameter) -> String {
    let need = if parameter.required { "" } else { ", optional" };
    let note = format!("{}{need}", escaped(&parameter.place));
    row(
        &escaped(&parameter.name),
        &kind(&parameter.schema),
        &note,
        &prose(&parameter.description),
    )
}

/// A row per media type of a body; `status` is empty for a request.
fn media(body: &Body, status: &str) -> String {
    if body.content.is_empty() {
        return row(&escaped(status), "", "", &prose(&body.description));
    }
    let line = |(name, media): (&String, &crate::document::Media)| {
        row(
            &escaped(status),
            &kind(&media.schema),
            &escaped(name),
            &prose(&body.description),
        )
    };
    body.content.iter().map(line).collect()
}

/// The type that a schema describes, in short, as HTML.
fn kind(schema: &Value) -> String {
    if let Some(name) = referred(schema) {
        let name = escaped(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema.get(word).and_then(Value::as_array) {
            let parts: Vec<_> = parts.iter().filter(|p| p["type"] != "null").map(kind).collect();
            return parts.join(if word == "allOf" { " and " } else { " or " });
        }
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).map(escaped).collect();
        return format!("<code>{}</code>", values.join("</code> <code>"));
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|n| *n != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".into(),
    };
    match name.as_str() {
        "array" => format!("list of {}", kind(&schema["items"])),
        _ => escaped(schema["format"].as_str().map_or(&name, |format| format)),
    }
}

/// A schema with its fields.
fn definition(name: &str, schema: &Value) -> String {
    let mut html = format!(
        "<article id=\"schema-{0}\"><h3><code>{0}</code></h3>",
        escaped(name)
    );
    html.push_str(&prose(schema["description"].as_str().unwrap_or_default()));
    let fields = fields(schema);
    match fields.is_empty() {
        true => drop(write!(html, "<p class=\"kind\">{}</p>", kind(schema))),
        false => drop(write!(html, "<table>{fields}</table>")),
    }
    html + "</article>"
}

/// Rows for the fields of an object, those of its parts (`allOf`) included.
fn fields(schema: &Value) -> String {
    let mut rows = String::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        match referred(part) {
            Some(_) => rows.push_str(&row("", &kind(part), "its fields too", "")),
            None => rows.push_str(&fields(part)),
        }
    }
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let note = if required.contains(&name.as_str()) {
            ""
        } else {
            "optional"
        };
        let text = field["description"].as_str().unwrap_or_default();
        rows.push_str(&row(&escaped(name), &kind(field), note, &prose(text)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_document_says_cannot_become_markup() {
        let document: Document = serde_json::from_value(json!({
            "info": {"title": "<script>alert(1)</script>", "version": "\"1\"", "description": "a `<b>` c"},
            "tags": [{"name": "t", "description": "<i>"}],
            "paths": {"/a/{id}": {"get": {
                "tags": ["t"], "summary": "<s>", "operationId": "x\"y", "responses": {"200": {"description": "<p>"}},
            }}},
        }))
        .unwrap();
        let html = page(&document);
        for markup in ["<script", "<i>&", "<s>", "x\"y", "<b>"] {
            assert!(!html.contains(markup), "{markup}: {html}");
        }
        assert!(html.contains("a <code>&lt;b&gt;</code> c"), "{html}");
    }

    #[test]
    fn a_kind_is_told_in_short() {
        assert_eq!(
            kind(&json!({"type": ["string", "null"], "format": "date-time"})),
            "date-time"
        );
        let list = json!({"type": "array", "items": {"$ref": "#/components/schemas/Agent"}});
        assert_eq!(kind(&list), "list of <a href=\"#schema-Agent\">Agent</a>");
        let maybe = json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Name"}]});
        assert_eq!(kind(&maybe), "<a href=\"#schema-Name\">Name</a>");
    }
}
