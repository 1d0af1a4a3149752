//! What a cbT is worth, and what a call costs beyond what is held for it.

use std::path::Path;

use camarad::cbt_price::CbtPrice;
use camarad::domain::ledger::{self, Progress, Usage, UsageRecorded};
use camarad::money::Cbt;
use camarad_tests::app::serve;
use camarad_tests::bank::{Bank, amount};
use camarad_tests::peers::ai::{Behaviour, Usage as Reported};
use serde_json::{Value, json};

use crate::desk::{Desk, cbt, mini, say};
use crate::logged::Lines;
use crate::usage::{deliver, message};

/// What the metric's filters read of a log: the excess of each call that they count.
fn told(lines: &Lines) -> Vec<i64> {
    let text = lines.text();
    let all = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    // As in template.yaml: { ($.message = "LEDGER_EXCESS") && ($.excess_micro_cbt > 0) }
    all.filter(|l| l["message"] == "LEDGER_EXCESS")
        .map(|l| l["excess_micro_cbt"].as_i64().unwrap())
        .collect()
}

fn reports(input: u64, output: u64) -> Behaviour {
    Behaviour::Normal {
        text: Some("Yes.".into()),
        usage: Some(Reported {
            input,
            cached: 0,
            output,
        }),
    }
}

#[tokio::test]
async fn what_a_provider_reports_beyond_the_hold_is_camarads_loss_and_is_measured() {
    let d = Desk::open().await;
    let (lines, _guard) = Lines::listen(None);
    d.t.ai().push(reports(50, 10));
    let fits = d.chat("fits", json!({"message": "Go?", "maxTokens": 100})).await;
    assert_eq!(told(&lines), [0_i64; 0], "{}", fits.body);
    d.t.ai().push(reports(900_000, 100));
    let body = json!({"message": "Go?", "maxTokens": 100});
    let answer = d.chat("more", body.clone()).await.json(200);
    let receipt = &answer["receipt"];
    let (held, cost) = (cbt(&receipt["held"]), cbt(&receipt["cost"]));
    assert_eq!(cost, held, "no more than what was held is charged: {receipt}");
    let lost = mini(900_000, 100).checked_sub(held).unwrap();
    assert!(lost > Cbt::ZERO);
    assert_eq!(told(&lines), [lost.as_micro()]);
    let call = answer["callId"].as_str().unwrap().parse().unwrap();
    let bill = ledger::decided(&d.t.app, call).await.unwrap().unwrap();
    assert_eq!((bill.charge.cbt(), bill.excess.cbt()), (held, lost));
    d.chat("more", body).await.json(200);
    assert_eq!(told(&lines).len(), 1, "a repetition loses nothing");
    let first = cbt(&fits.json(200)["receipt"]["cost"]);
    d.assert_spent(first.checked_add(cost).unwrap()).await;
}

#[tokio::test]
async fn what_a_dead_drivers_call_had_cost_beyond_its_hold_is_measured_by_the_sweeper() {
    let bank = Bank::open().await;
    let (lines, _guard) = Lines::listen(None);
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    let usage = Usage {
        request_id: Some("req-7".into()),
        ..Usage::default()
    };
    let progress = Progress {
        billable: amount(85),
        usage: Some(usage),
        expires_at: held.expires_at,
    };
    ledger::checkpoint(&bank.app, &held, &progress).await.unwrap();
    bank.wait(120);
    assert_eq!(ledger::sweep(&bank.app).await.unwrap().charged, 1);
    let bill = ledger::decided(&bank.app, held.call).await.unwrap().unwrap();
    assert_eq!((bill.charge, bill.excess), (amount(60), amount(25)));
    assert_eq!(told(&lines), [25]);
    assert_eq!(bill.usage.request_id.as_deref(), Some("req-7"));
    assert_eq!(bank.balance(account).await, (40, 40));
}

/// The metric can only be seen in the cloud; what it is made of can be compared here.
#[test]
fn the_metric_reads_what_is_logged_by_the_functions_that_end_holds() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template = std::fs::read_to_string(template).unwrap();
    let filters: Vec<_> = template
        .split("\n\n")
        .filter(|r| r.contains("AWS::Logs::MetricFilter") && r.contains("LEDGER_EXCESS"))
        .collect();
    for group in ["RuntimeLogs", "ScheduledLogs"] {
        let filter = filters
            .iter()
            .find(|f| f.contains(&format!("LogGroupName: !Ref {group}")))
            .unwrap_or_else(|| panic!("nothing reads {group}"));
        for part in [
            r#"FilterPattern: '{ ($.message = "LEDGER_EXCESS") && ($.excess_micro_cbt > 0) }'"#,
            r#"MetricName: LedgerExcess, MetricValue: "$.excess_micro_cbt""#,
        ] {
            assert!(filter.contains(part), "{filter}");
        }
    }
    assert_eq!(filters.len(), 2);
}

#[tokio::test]
async fn a_cbt_of_another_price_pays_for_more_and_the_receipt_names_the_price() {
    let d = Desk::open().await;
    let mut config = d.t.app.config().clone();
    config.cbt_price = CbtPrice::parse(Some("0.001"), Some("spring.2")).unwrap();
    let dear = d.ann.of(serve(&d.t.instance_with(config)));
    d.t.ai().push(reports(40, 10));
    d.t.ai().push(reports(40, 10));
    let usual = d.chat("usual", say("Go?")).await.json(200)["receipt"].clone();
    let answer = dear.once("dear").post(&d.chat_path(), say("Go?")).await;
    let receipt = answer.json(200)["receipt"].clone();
    assert_eq!(cbt(&usual["cost"]), mini(40, 10));
    assert_eq!(cbt(&receipt["cost"]), Cbt::micro(mini(40, 10).as_micro() / 2));
    assert_eq!(
        cbt(&receipt["held"]),
        Cbt::micro(cbt(&usual["held"]).as_micro() / 2)
    );
    let list = usual["priceVersion"].as_str().unwrap();
    assert_eq!(receipt["priceVersion"], format!("{list}+spring.2"));
    // A receipt says what its call was made with, whatever the price is now.
    assert_eq!(
        d.receipt(&receipt["callId"]).await["priceVersion"],
        receipt["priceVersion"]
    );
}

#[tokio::test]
async fn a_usage_event_names_the_request_that_made_the_call() {
    let d = Desk::open().await;
    let answer = d.chat("k", say("Go?")).await;
    let request = answer.header("x-request-id").unwrap().to_owned();
    let call = answer.json(200)["callId"].as_str().unwrap().parse().unwrap();
    let bill = ledger::decided(&d.t.app, call).await.unwrap().unwrap();
    let event = UsageRecorded::from(&bill);
    assert_eq!(serde_json::to_value(&event).unwrap()["requestId"], request);
    assert_eq!(
        deliver(&d.t, vec![message(0, &event)]).await,
        Vec::<String>::new()
    );
    let of = |path: &str| format!("/api/usage{path}?workspaceId={}", d.workspace);
    let page = d.ann.get(&of("")).await.json(200);
    assert_eq!(page["items"][0]["requestId"], request);
    let file = d.ann.get(&of("/export")).await.body;
    assert!(file.lines().next().unwrap().ends_with(",requestId"), "{file}");
    assert!(
        file.lines().nth(1).unwrap().ends_with(&format!(",{request}")),
        "{file}"
    );
}
