//! Exports of a ledger, and the program outside that adds them up.

use std::path::PathBuf;
use std::process::Command;

use camarad::context::Context;
use camarad::domain::ledger::{self, Grant, Operation, Refund, export};
use camarad::domain::plans::Plan;
use camarad::ids::{OperationId, UserId};
use camarad_tests::app::TestApp;
use camarad_tests::app::stack::repository;
use camarad_tests::bank::{Bank, amount, grant, micro};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// What the auditor says of these texts: whether it adds up, and its words.
fn verdict(texts: &[String]) -> (bool, String) {
    let mut files: Vec<PathBuf> = Vec::new();
    for text in texts {
        let name = format!("ledger-{}.ndjson", OperationId::new(&camarad::clock::SystemClock));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        files.push(path);
    }
    let script = repository().join("infra/audit-ledger.mjs");
    let out = Command::new("node").arg(script).args(&files).output().unwrap();
    for file in files {
        std::fs::remove_file(file).unwrap();
    }
    let words = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(words).unwrap())
}

async fn exported(bank: &Bank, account: UserId, after: u64) -> (String, usize) {
    let cause = Context::system("test", bank.app.clock().now());
    let mut export = export::begin(&bank.app, &cause, (account, after)).await.unwrap();
    let (mut text, mut pieces) = (String::new(), 0);
    while let Some(piece) = export.next().await.unwrap() {
        text.push_str(&piece);
        pieces += 1;
    }
    (text, pieces)
}

/// An account with some of everything.
async fn history(bank: &Bank) -> UserId {
    let account = bank.account(1_000).await;
    let lot = Grant {
        expires: Some(bank.app.clock().now() + SignedDuration::from_secs(30)),
        ..grant(Operation::granted(OperationId::new(bank.app.clock())), 50)
    };
    ledger::grant(&bank.app, account, &lot).await.unwrap();
    for n in 0..60 {
        let held = bank.hold(account, 10).await;
        if n % 5 > 0 {
            bank.write_bill(&bank.bill(&held, n % 5)).await.unwrap();
        }
        ledger::end(&bank.app, &held, amount(n % 5)).await.unwrap();
        if n == 44 {
            let refund = Refund {
                account,
                call: held.call,
                name: "a".into(),
                amount: micro(3),
                reason: "goodwill".into(),
            };
            ledger::refund(&bank.app, &refund).await.unwrap();
        }
    }
    bank.hold(account, 7).await;
    account
}

#[tokio::test]
async fn an_export_adds_up_in_one_piece_and_in_several_files() {
    let bank = Bank::open().await;
    let account = history(&bank).await;
    let (whole, pieces) = exported(&bank, account, 0).await;
    assert!(pieces >= 4, "{pieces} pieces");
    let (right, words) = verdict(std::slice::from_ref(&whole));
    assert!(right, "{words}");
    assert!(
        words.starts_with("124 entries add up: balance 0.000933 cbT, held 0.000007 cbT"),
        "{words}"
    );
    let (rest, _) = exported(&bank, account, 100).await;
    assert!(verdict(std::slice::from_ref(&rest)).0, "a part of it, too");
    bank.wait(600);
    bank.come_to_rest(&[account]).await;
    let (later, _) = exported(&bank, account, 124).await;
    let (right, words) = verdict(&[whole, later]);
    assert!(right, "{words}");
    let beyond = export::begin(
        &bank.app,
        &Context::system("test", bank.app.clock().now()),
        (account, 999),
    )
    .await;
    assert!(beyond.is_err());
}

/// The lines of a file, changed and written again.
fn changed(whole: &str, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut lines: Vec<Value> = whole.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    change(&mut lines);
    lines.iter().map(|l| format!("{l}\n")).collect()
}

#[tokio::test]
async fn every_kind_of_damage_is_named_at_the_first_wrong_entry() {
    let bank = Bank::open().await;
    let (whole, _) = exported(&bank, history(&bank).await, 0).await;
    let at = |kind: &str| {
        let lines: Vec<Value> = whole.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        lines.iter().position(|l| l["type"] == kind).unwrap()
    };
    let (consume, release, refund, hold) = (at("consume"), at("release"), at("refund"), at("hold"));
    type Change<'a> = Box<dyn FnOnce(&mut Vec<Value>) + 'a>;
    let damages: Vec<(&str, Change)> = vec![
        ("is missing", Box::new(|l| drop(l.remove(40)))),
        ("is missing", Box::new(|l| l.swap(40, 41))),
        (
            "the balance is",
            Box::new(|l| l[consume]["delta"] = json!("-0.000009")),
        ),
        ("the balance is", Box::new(|l| l[60]["balance"] = json!("5"))),
        (
            "happened before",
            Box::new(|l| l[hold + 2]["operation"] = l[hold]["operation"].clone()),
        ),
        (
            "was held and",
            Box::new(|l| l[release]["held"] = json!("-0.000001")),
        ),
        (
            "is refunded",
            Box::new(|l| {
                let cheap = l[consume]["callId"].clone();
                l[refund]["operation"] = json!(format!("refund:{}:a", cheap.as_str().unwrap()));
                l[refund]["callId"] = cheap;
            }),
        ),
        (
            "nobody knows the type",
            Box::new(|l| l[50]["type"] = json!("gift")),
        ),
        ("is no amount", Box::new(|l| l[50]["held"] = json!(1))),
        ("the last line is missing", Box::new(|l| drop(l.pop()))),
        (
            "entries add up to",
            Box::new(|l| l.last_mut().unwrap()["balance"] = json!("1")),
        ),
        ("version 1", Box::new(|l| l[0]["version"] = json!(2))),
    ];
    for (wanted, damage) in damages {
        let (right, words) = verdict(&[changed(&whole, damage)]);
        assert!(!right, "{wanted}: {words}");
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
}

#[tokio::test]
async fn the_owner_gets_the_file_and_the_record_says_so() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    crate::desk::fund(&t, ann.user.unwrap(), camarad::money::Cbt::whole(3)).await;
    let answer = ann.get("/api/ledger/export").await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let (right, words) = verdict(std::slice::from_ref(&answer.body));
    assert!(
        right && words.contains("1 entries add up: balance 3 cbT"),
        "{words}"
    );
    ann.get("/api/ledger/export?after=9")
        .await
        .assert_invalid("query.after");
    let log = t.snapshot().await;
    assert_eq!(
        log.iter()
            .filter(|i| i.contains("data.exported") && i.contains("AUDIT#"))
            .count(),
        1
    );
}
