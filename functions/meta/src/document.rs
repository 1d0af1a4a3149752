//! The parts of an OpenAPI document that the reference shows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub(crate) info: Info,
    pub(crate) tags: Vec<Tag>,
    pub(crate) paths: BTreeMap<String, BTreeMap<String, Operation>>,
    pub(crate) components: Components,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) description: String,
}

/// What a method of a path does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) tags: Vec<String>,
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) operation_id: String,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) request_body: Option<Body>,
    pub(crate) responses: BTreeMap<String, Body>,
    pub(crate) security: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    #[serde(rename = "in")]
    pub(crate) place: String,
    pub(crate) description: String,
    pub(crate) required: bool,
    pub(crate) schema: Value,
}

/// The body of a request or of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Body {
    pub(crate) description: String,
    pub(crate) content: BTreeMap<String, Media>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Media {
    pub(crate) schema: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Components {
    pub(crate) schemas: BTreeMap<String, Value>,
}

impl Document {
    /// Operations of a tag, by path and method.
    pub(crate) fn operations<'a>(
        &'a self,
        tag: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a Operation)> {
        let all = self.paths.iter().flat_map(|(path, methods)| {
            methods
                .iter()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        });
        all.filter(move |(_, _, operation)| operation.tags.iter().any(|t| t == tag))
    }
}

/// The name of the schema that a `$ref` points to.
pub(crate) fn referred(schema: &Value) -> Option<&str> {
    schema
        .get("$ref")?
        .as_str()?
        .strip_prefix("#/components/schemas/")
}
