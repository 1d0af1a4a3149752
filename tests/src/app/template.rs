//! What tests take from template.yaml, so that they run on the table that is deployed.

use std::sync::LazyLock;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType, TimeToLiveSpecification,
};
use serde_yaml_ng::Value;

use super::stack::repository;

static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(repository().join("template.yaml")).expect("template.yaml");
    serde_yaml_ng::from_str(&text).expect("template.yaml is YAML")
});

/// The whole template; CloudFormation's short forms (`!Sub`) are tagged values.
pub fn template() -> &'static Value {
    &TEMPLATE
}

fn table() -> &'static Value {
    &template()["Resources"]["Table"]["Properties"]
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("template.yaml: the table's {name}"))
}

fn key_schema(value: &Value) -> Vec<KeySchemaElement> {
    let part = |v: &Value| {
        let key_type = KeyType::from(text(v, "KeyType"));
        KeySchemaElement::builder()
            .attribute_name(text(v, "AttributeName"))
            .key_type(key_type)
            .build()
            .expect("a key")
    };
    value["KeySchema"]
        .as_sequence()
        .expect("KeySchema")
        .iter()
        .map(part)
        .collect()
}

fn attributes() -> Vec<AttributeDefinition> {
    let one = |v: &Value| {
        let of = ScalarAttributeType::from(text(v, "AttributeType"));
        AttributeDefinition::builder()
            .attribute_name(text(v, "AttributeName"))
            .attribute_type(of)
            .build()
            .expect("an attribute")
    };
    table()["AttributeDefinitions"]
        .as_sequence()
        .expect("AttributeDefinitions")
        .iter()
        .map(one)
        .collect()
}

fn indexes() -> Vec<GlobalSecondaryIndex> {
    let one = |v: &Value| {
        let projection = ProjectionType::from(text(&v["Projection"], "ProjectionType"));
        GlobalSecondaryIndex::builder()
            .index_name(text(v, "IndexName"))
            .set_key_schema(Some(key_schema(v)))
            .projection(Projection::builder().projection_type(projection).build())
            .build()
            .expect("an index")
    };
    table()["GlobalSecondaryIndexes"]
        .as_sequence()
        .expect("GlobalSecondaryIndexes")
        .iter()
        .map(one)
        .collect()
}

/// Creates the template's table under `name`, with its stream and time to live if the engine has them.
pub async fn create_table(client: &aws_sdk_dynamodb::Client, name: &str, stream: bool) {
    let mut create = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes()))
        .set_key_schema(Some(key_schema(table())))
        .set_global_secondary_indexes(Some(indexes()));
    if stream {
        let view = StreamViewType::NewAndOldImages;
        let on = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(view)
            .build()
            .expect("a stream");
        create = create.stream_specification(on);
    }
    create.send().await.expect("the table is created");
    if stream {
        let ttl = TimeToLiveSpecification::builder()
            .attribute_name("ttl")
            .enabled(true)
            .build()
            .expect("a ttl");
        client
            .update_time_to_live()
            .table_name(name)
            .time_to_live_specification(ttl)
            .send()
            .await
            .expect("time to live");
    }
}
