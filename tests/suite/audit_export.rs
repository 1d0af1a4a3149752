//! Exports of audit logs: what is in them, in both formats, and what retention leaves of a log.

use camarad::context::Context;
use camarad::domain::plans::Plan;
use camarad::store::record::{Action, Scope};
use camarad::store::{Cond, keys};
use camarad_tests::app::TestApp;
use camarad_tests::chain::{audited, seal_all};
use jiff::SignedDuration;
use scheduled::Job;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::audit_verify::{Files, export, history, lines, rewritten, verdict};
use crate::workspaces::workspace;

#[tokio::test]
async fn an_export_is_recorded_before_anything_of_it_is_out() {
    let t = TestApp::new().await;
    let (owner, home) = history(&t).await;
    let exported = export(&owner, &home, "?format=csv&action=workspace.updated").await;
    assert!(exported.starts_with("seq,id,at,action,"));
    let page = owner
        .get(&format!("/api/workspaces/{home}/audit-logs?action=data.exported"))
        .await
        .json(200);
    let record = &page["items"][0];
    assert_eq!(record["actor"]["id"], json!(owner.user));
    assert_eq!(
        record["ip"], "203.0.113.7",
        "a read has no session at hand, and yet"
    );
    let filter = json!({"action": ["workspace.updated"]});
    assert_eq!(
        record["detail"],
        json!({"log": "audit", "format": "csv", "filter": filter})
    );
}

#[tokio::test]
async fn a_spreadsheet_gets_rows_and_no_formula() {
    let t = TestApp::new().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner, "Home").await;
    let evil = owner.header("User-Agent", "=cmd|' /C calc'!A0");
    evil.patch(
        &format!("/api/workspaces/{home}"),
        json!({"name": "a, \"b\"\u{a0}c"}),
    )
    .await
    .json(200);
    seal_all(&t).await;
    let answer = owner
        .get(&format!("/api/workspaces/{home}/audit-logs/export?format=csv"))
        .await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/csv; charset=utf-8; header=present")
    );
    let disposition = format!("attachment; filename=\"audit-{home}.csv\"");
    assert_eq!(answer.header("content-disposition"), Some(disposition.as_str()));
    let rows: Vec<_> = answer.body.split("\r\n").collect();
    // Head, two records, the end, and nothing after the last line's end.
    assert_eq!(rows.len(), 5, "{rows:?}");
    let (before, _) = answer.body.split_at(answer.body.rfind("end,").unwrap());
    let sum = data_encoding::HEXLOWER.encode(&Sha256::digest(before.as_bytes()));
    assert!(
        rows[3].starts_with(&format!("end,rows=2,sha256={sum},")),
        "{}",
        rows[3]
    );
    assert!(rows[2].contains("\"'=cmd|' /C calc'!A0\""), "{}", rows[2]);
    assert!(rows[2].contains(r#""{""changed"":[""name""]}""#), "{}", rows[2]);
}

#[tokio::test]
async fn a_filtered_export_proves_each_record_and_says_that_it_proves_no_more() {
    let t = TestApp::new().await;
    let (owner, home) = history(&t).await;
    let some = export(&owner, &home, "?action=workspace.updated").await;
    let files = Files::new("filtered");
    let (status, said) = verdict(&t, &[], &files.write("some.ndjson", &some));
    assert_eq!(status, 3, "{said}");
    assert!(
        said.contains("3 records") && said.contains("cannot show whether one is missing"),
        "{said}"
    );
    let mut bad = lines(&some);
    bad[2]["record"]["requestId"] = "x".into();
    assert_eq!(
        verdict(&t, &[], &files.write("bad.ndjson", &rewritten(&bad))).0,
        1
    );
}

#[tokio::test]
async fn a_long_log_streams_in_many_pieces_and_is_proven() {
    let t = TestApp::new().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner, "Home").await;
    let scope = Scope::Workspace(home.parse().unwrap());
    for n in 0..250 {
        let cause = Context::system("tests", t.app.clock().now());
        let tx = t
            .app
            .tx(&cause)
            .audit(Action::SettingsUpdated, scope, n, json!({"n": n}))
            .unwrap();
        tx.run().await.unwrap();
    }
    seal_all(&t).await;
    let path = format!("/api/workspaces/{home}/audit-logs/export");
    let (_, mut body) = owner.open("GET", &path, None).await;
    let (mut pieces, mut largest, mut text) = (0, 0, Vec::new());
    while let Some(piece) = futures_util::StreamExt::next(&mut body).await {
        let piece = piece.unwrap();
        (pieces, largest) = (pieces + 1, largest.max(piece.len()));
        text.extend_from_slice(&piece);
    }
    assert!(
        pieces >= 4 && largest < text.len() / 2,
        "{pieces} pieces, the largest {largest}"
    );
    let files = Files::new("long");
    let (status, said) = verdict(
        &t,
        &[],
        &files.write("long.ndjson", std::str::from_utf8(&text).unwrap()),
    );
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("251 records"), "{said}");
}

#[tokio::test]
async fn what_has_lived_to_its_end_leaves_a_checkpoint_from_which_the_rest_is_proven() {
    let t = TestApp::new().await;
    let (owner, home) = history(&t).await;
    t.clock.advance(SignedDuration::from_hours(24 * 60));
    let cause = Context::system("tests", t.app.clock().now());
    let scope = Scope::Workspace(home.parse().unwrap());
    let tx = t
        .app
        .tx(&cause)
        .audit(Action::SettingsUpdated, scope, &home, json!({}));
    tx.unwrap().run().await.unwrap();
    seal_all(&t).await;
    let old = audited(&t.app, &home).await;
    t.clock.advance(SignedDuration::from_hours(24 * 31));
    // Time to live has done its work on the records, and no checkpoint was made yet.
    for seal in &old[..4] {
        t.app
            .db()
            .take(&seal.record(), &Cond::item_exists())
            .await
            .unwrap();
    }
    let owner = t.sign_in(owner.user.unwrap()).await;
    let files = Files::new("checkpoint");
    let before = export(&owner, &home, "").await;
    let (status, said) = verdict(&t, &[], &files.write("before.ndjson", &before));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("1 records, 4 more"), "{said}");

    scheduled::handle(t.app.clone(), Job::SealAudits).await.unwrap();
    seal_all(&t).await;
    for seal in &old[..4] {
        let key = keys::seal(&home, seal.seq);
        t.app.db().take(&key, &Cond::item_exists()).await.unwrap();
    }
    let after = export(&owner, &home, "").await;
    assert_eq!(lines(&after)[1]["type"], "checkpoint");
    let (status, said) = verdict(&t, &[], &files.write("after.ndjson", &after));
    assert_eq!(status, 0, "{said}");
    let mut cut = lines(&after);
    cut.remove(2);
    let (status, said) = verdict(&t, &[], &files.write("cut.ndjson", &rewritten(&cut)));
    assert_eq!(status, 1);
    assert!(said.contains("record 5 is missing"), "{said}");
    let mut forged = lines(&after);
    forged[1]["seq"] = 5.into();
    let (status, said) = verdict(&t, &[], &files.write("forged.ndjson", &rewritten(&forged)));
    assert_eq!(status, 1);
    assert!(said.contains("the checkpoint is not signed"), "{said}");
}

#[tokio::test]
async fn an_export_is_checked_with_the_keys_that_the_api_publishes() {
    const KEYS: &str = "/.well-known/audit-keys.json";
    let t = TestApp::new().await;
    let published = t.anonymous().get(KEYS).await;
    assert_eq!(published.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(published.json(200), json!({"keys": []}));

    let (owner, home) = history(&t).await;
    let exported = export(&owner, &home, "").await;
    let context = Context::system("story", t.app.clock().now());
    let failed = (Action::UserLoginFailed, Scope::Platform);
    let tx = t.app.tx(&context).audit(failed.0, failed.1, "x", json!({}));
    tx.unwrap().run().await.unwrap();
    seal_all(&t).await;
    let set = t.anonymous().get(KEYS).await.json(200);
    let head = lines(&exported)
        .into_iter()
        .find(|l| l["type"] == "head")
        .unwrap();
    let key = &set["keys"][0];
    assert_eq!(
        (set["keys"].as_array().unwrap().len(), &key["x"]),
        (1, &head["key"])
    );
    assert_eq!(
        (&key["kty"], &key["crv"], key.get("d")),
        (&json!("OKP"), &json!("Ed25519"), None)
    );

    let files = Files::new("published");
    let file = files.write("export.ndjson", &exported);
    let given = files.write("audit-keys.json", &set.to_string());
    let (status, said) = verdict(&t, &["--keys", given.to_str().unwrap()], &file);
    assert_eq!(status, 0, "{said}");
    let mut others = set.clone();
    others["keys"][0]["x"] = "A".repeat(43).into();
    let given = files.write("others.json", &others.to_string());
    let (status, said) = verdict(&t, &["--keys", given.to_str().unwrap()], &file);
    assert_eq!(status, 1);
    assert!(said.contains("not among the trusted keys"), "{said}");
}

#[tokio::test]
async fn a_record_that_was_removed_from_the_table_is_named_and_anchors_find_a_shorter_history() {
    let t = TestApp::new().await;
    let (owner, home) = history(&t).await;
    let files = Files::new("anchors");
    let early = export(&owner, &home, "").await;
    seal_all(&t).await;
    let late = export(&owner, &home, "").await;
    let anchor = lines(&late).into_iter().find(|l| l["type"] == "head").unwrap();
    let mut line = anchor.clone();
    line["kind"] = "head".into();
    line.as_object_mut().unwrap().remove("type");
    let log =
        json!({"timestamp": "x", "level": "INFO", "message": "chain head", "audit.anchor": line.to_string()});
    let log = files.write("log.ndjson", &format!("not JSON\n{log}\n"));
    let keys_file = files.write("keys.txt", anchor["key"].as_str().unwrap());
    let log = [
        "--anchors",
        log.to_str().unwrap(),
        "--keys",
        keys_file.to_str().unwrap(),
    ];
    let late = files.write("late.ndjson", &late);
    let (status, said) = verdict(&t, &log, &late);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("1 anchors fit"), "{said}");
    let (status, said) = verdict(&t, &["--keys", late.to_str().unwrap()], &late);
    assert_eq!(status, 1);
    assert!(said.contains("not among the trusted keys"), "{said}");
    // The early export is genuine, and older than the anchor: it says as of when.
    assert_eq!(verdict(&t, &log, &files.write("early.ndjson", &early)).0, 0);

    seal_all(&t).await;
    let seals = audited(&t.app, &home).await;
    t.app
        .db()
        .take(&seals[1].record(), &Cond::item_exists())
        .await
        .unwrap();
    let holed = export(&owner, &home, "").await;
    let (status, said) = verdict(&t, &[], &files.write("holed.ndjson", &holed));
    assert_eq!(status, 1);
    assert!(
        said.contains(&format!(
            "record 2 ({}) is missing: it was removed from the table",
            seals[1].id
        )),
        "{said}"
    );
    assert!(export(&owner, &home, "?format=csv").await.contains("(missing)"));
}
