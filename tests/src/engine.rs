//! The two DynamoDB engines that tests run on: MiniStack, as the whole local stack, and dynoxide in this process,
//! which is independent of it and much faster. Both get the table of template.yaml.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use camarad::store::Db;

use crate::app::{stack, template};
use crate::faults::Faults;

/// The table's name in every engine.
pub const TABLE: &str = "camarad";

/// Every item of the table, in no order.
///
/// # Panics
/// When the engine does not answer.
pub async fn items(client: &Client) -> Vec<HashMap<String, AttributeValue>> {
    let scan = client.scan().table_name(TABLE).consistent_read(true);
    let items: Result<_, _> = scan.into_paginator().items().send().collect().await;
    items.expect("the table answers")
}

/// A client's configuration for an engine on this machine; each `account` is a world of its own in MiniStack.
pub fn config(endpoint: &str, account: &str) -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(account, "secret", None, None, "tests"))
}

/// A fresh table in MiniStack.
pub async fn ministack() -> Db {
    let client = Client::from_conf(config(&stack::stack().endpoint, &stack::fresh_account()).build());
    template::create_table(&client, TABLE, true).await;
    Db::new(client, TABLE)
}

/// A dynoxide of its own with a fresh table; it ends with the test's runtime.
pub async fn dynoxide() -> Db {
    Db::new(
        Client::from_conf(config(&dynoxide_endpoint().await, "000000000001").build()),
        TABLE,
    )
}

/// The same, with faults between it and the client.
pub async fn faulty(faults: &Faults) -> Db {
    faulty_and_raw(faults).await.0
}

/// The same, and a client that meets no faults.
pub async fn faulty_and_raw(faults: &Faults) -> (Db, Client) {
    let retries = RetryConfig::standard()
        .with_max_attempts(camarad::app::ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(1));
    let plain = config(&dynoxide_endpoint().await, "000000000001");
    let faulty = plain
        .clone()
        .http_client(faults.http_client())
        .retry_config(retries);
    let db = Db::new(Client::from_conf(faulty.build()), TABLE);
    (db, Client::from_conf(plain.build()))
}

/// The address of a dynoxide of its own, with the table made; for tests that bring a client of their own.
pub async fn dynoxide_endpoint() -> String {
    let database = dynoxide::Database::memory().expect("a database in memory");
    served(&database).await
}

/// The address at which this database is served, with the table made; for tests that fill it by themselves.
pub async fn served(database: &dynoxide::Database) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(dynoxide::server::serve_with_shutdown(
        listener,
        database.clone(),
        std::future::pending(),
    ));
    let client = Client::from_conf(config(&endpoint, "000000000001").build());
    template::create_table(&client, TABLE, false).await;
    endpoint
}
