//! Gives somebody a trial, where there is no Stripe to begin one at: in a bench. Whoever signs up there can otherwise only
//! read. `trial ENDPOINT TABLE USER PLAN`

use std::process::ExitCode;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use camarad::app::Builder;
use camarad::clock::SystemClock;
use camarad::config::Config;
use camarad::domain::plans::Plan;
use camarad::ids::UserId;
use camarad::store::Db;
use camarad_tests::app::trial;

const USAGE: &str = "usage: trial ENDPOINT TABLE USER PLAN";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [endpoint, table, user, plan] = arguments.as_slice() else {
        return told(USAGE);
    };
    let plan = serde_json::from_value::<Plan>(plan.as_str().into());
    let (Ok(user), Ok(plan)) = (user.parse::<UserId>(), plan) else {
        return told(USAGE);
    };
    let local = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "local"));
    let db = Db::new(aws_sdk_dynamodb::Client::from_conf(local.build()), table);
    let config = Config {
        table: table.clone(),
        ..Config::default()
    };
    let app = Builder::new(config, db, std::sync::Arc::new(SystemClock)).build();
    trial::begin(&app, user, plan).await;
    ExitCode::SUCCESS
}

fn told(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
