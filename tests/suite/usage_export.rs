//! Usage as a file: whole or visibly cut, in bounded memory however long it is.

use std::collections::HashMap;

use camarad::domain::ledger::UsageRecorded;
use camarad::ids::{CallId, WorkspaceId};
use camarad_tests::app::{Client, Setup, TestApp};
use camarad_tests::deployed::binaries;
use camarad_tests::dice::share;
use camarad_tests::engine;
use camarad_tests::faults::{Fault, Faults};
use camarad_tests::peers::lambda::{LambdaPeer, Process};
use dynoxide::AttributeValue;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::usage::{deliver, message, recorded, studio};

/// The rows of a file between its head and its last row, after it was found to be whole.
fn rows(file: &str) -> Vec<Vec<&str>> {
    let (before, last) = file.trim_end().rsplit_once("\r\n").expect("several rows");
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(format!("{before}\r\n")));
    let lines: Vec<_> = before.split("\r\n").collect();
    let end = format!("end,rows={},sha256={hash}", lines.len() - 1);
    assert!(last.starts_with(&end), "{last}");
    let cells: Vec<Vec<_>> = lines.iter().map(|line| line.split(',').collect()).collect();
    let width = cells[0].len();
    assert!(cells.iter().all(|row| row.len() == width) && last.split(',').count() == width);
    assert_eq!(&cells[0][..4], ["row", "at", "callId", "userId"]);
    cells.into_iter().skip(1).collect()
}

async fn seed(t: &TestApp, ann: &Client, events: &[UsageRecorded]) {
    assert!(ann.user.is_some());
    for some in events.chunks(100) {
        let messages = some.iter().enumerate().map(|(n, e)| message(n, e)).collect();
        assert_eq!(deliver(t, messages).await, Vec::<String>::new());
    }
}

fn path(id: WorkspaceId, rest: &str) -> String {
    format!("/api/usage/export?workspaceId={id}{rest}")
}

#[tokio::test]
async fn a_file_has_every_call_once_oldest_first_and_says_that_it_is_whole() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let now = t.app.clock().now();
    let user = ann.user.unwrap();
    let mut events: Vec<_> = (0..1_203_u32)
        .map(|n| {
            let at = now - SignedDuration::from_secs(i64::from(n / 3));
            recorded(t.app.clock(), (user, agent), "small", at, i64::from(n))
        })
        .collect();
    seed(&t, &ann, &events).await;
    let answer = ann.get(&path(id, "")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/csv"));
    assert!(
        answer
            .header("content-disposition")
            .unwrap()
            .contains(&format!("usage-{id}.csv"))
    );
    events.sort_by_key(|e| (e.at, e.call_id.to_string()));
    let rows = rows(&answer.body);
    let found: Vec<_> = rows.iter().map(|r| (r[2].to_owned(), r[11].to_owned())).collect();
    let expected: Vec<_> = events
        .iter()
        .map(|e| (e.call_id.to_string(), e.cost.to_string()))
        .collect();
    assert_eq!(found, expected);

    // A file that was cut is continued after its last whole row.
    let cut = &rows[700];
    let rest = ann
        .get(&path(id, &format!("&from={}&after={}", cut[1], cut[2])))
        .await;
    let rest = self::rows(&rest.body)
        .iter()
        .map(|r| r[2].to_owned())
        .collect::<Vec<_>>();
    let left: Vec<_> = events.iter().skip(701).map(|e| e.call_id.to_string()).collect();
    assert_eq!(rest, left);

    let span = format!("&from={}&to={}", events[300].at, events[600].at);
    let some = ann.get(&path(id, &span)).await;
    let inside = events
        .iter()
        .filter(|e| e.at >= events[300].at && e.at < events[600].at);
    assert_eq!(self::rows(&some.body).len(), inside.count());
    let log = ann
        .get(&format!("/api/workspaces/{id}/audit-logs"))
        .await
        .json(200);
    assert_eq!(log["items"][0]["action"], "data.exported", "{log}");
}

#[tokio::test]
async fn a_file_runs_nothing_in_a_spreadsheet_and_is_for_members() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let event = recorded(
        t.app.clock(),
        (ann.user.unwrap(), agent),
        "=cmd|' /C calc'!A0",
        t.app.clock().now(),
        1,
    );
    seed(&t, &ann, &[event]).await;
    let file = ann.get(&path(id, "")).await.body;
    assert!(file.contains(",\"'=cmd|' /C calc'!A0\","), "{file}");
    let (eve, _, _) = studio(&t, "eve@example.com").await;
    eve.get(&path(id, "")).await.assert_problem(404, "not_found");
    for (rest, field) in [
        ("&from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "query.from"),
        ("&from=yesterday", "query.from"),
        ("&after=call_x", "query.after"),
        (&format!("&after={}", CallId::new(t.app.clock())), "query.after"),
        ("&format=xml", "query"),
    ] {
        let refused = ann.get(&path(id, rest)).await;
        assert!(
            refused.status == 422 && refused.body.contains(field),
            "{rest}: {}",
            refused.body
        );
    }
}

#[tokio::test]
async fn a_table_that_throttles_in_the_middle_cuts_the_file_visibly() {
    let faults = Faults::new(7);
    let setup = Setup {
        faults: Some(faults.clone()),
        ..Setup::default()
    };
    let t = TestApp::with(setup).await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let now = t.app.clock().now();
    let events: Vec<_> = (0..1_100)
        .map(|n| {
            recorded(
                t.app.clock(),
                (ann.user.unwrap(), agent),
                "small",
                now - SignedDuration::from_secs(n),
                1,
            )
        })
        .collect();
    seed(&t, &ann, &events).await;
    let (head, mut body) = ann.open("GET", &path(id, ""), None).await;
    assert_eq!(head.status, 200);
    let first = body.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"row,at,"));
    faults.whenever(Some(("USAGE#", Fault::Throttled)));
    let (mut rest, mut broken) = (Vec::new(), false);
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => rest.extend_from_slice(&chunk),
            Err(_) => broken = true,
        }
    }
    faults.whenever(None);
    assert!(broken, "the body breaks off");
    assert!(!String::from_utf8_lossy(&rest).contains("end,rows="));
}

/// What a megabyte is here.
const MB: u64 = 1_024;

/// The most memory that a process has had, in KB.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The value in the other engine's words.
fn native(value: &aws_sdk_dynamodb::types::AttributeValue) -> AttributeValue {
    use aws_sdk_dynamodb::types::AttributeValue as Sdk;
    match value {
        Sdk::S(text) => AttributeValue::S(text.clone()),
        Sdk::N(number) => AttributeValue::N(number.clone()),
        Sdk::Bool(yes) => AttributeValue::BOOL(*yes),
        other => panic!("{other:?}"),
    }
}

/// Puts so many copies of a workspace's only event into the table, each with a call and a moment of its own.
async fn multiply(database: &dynoxide::Database, t: &TestApp, client: &aws_sdk_dynamodb::Client, count: u64) {
    let all = engine::items(client).await;
    let sample = all
        .into_iter()
        .find(|i| {
            i.get("kind")
                .and_then(|k| k.as_s().ok())
                .is_some_and(|k| k == "usageEvent")
        })
        .unwrap();
    let sample: HashMap<_, _> = sample.iter().map(|(name, v)| (name.clone(), native(v))).collect();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut made = 0;
    while made < count {
        let some = (made..count.min(made + 10_000)).map(|n| {
            let at = start + SignedDuration::from_millis(i64::try_from(n * 20).unwrap());
            let call = CallId::new(t.app.clock()).to_string();
            let mut item = sample.clone();
            item.insert("SK".into(), AttributeValue::S(format!("EVENT#{at:.3}#{call}")));
            item.insert("callId".into(), AttributeValue::S(call));
            item.insert("at".into(), AttributeValue::S(at.to_string()));
            item
        });
        let some: Vec<_> = some.collect();
        made += some.len() as u64;
        database
            .import_items(engine::TABLE, some, dynoxide::ImportOptions::default())
            .expect("the items are put");
    }
}

/// The real function, in a process of its own whose memory is looked at: a million rows in `make proof`, a fiftieth of
/// them in `make test`. What it needs does not grow with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_million_rows_is_made_in_bounded_memory() {
    binaries::check();
    let database = dynoxide::Database::memory().unwrap();
    let endpoint = engine::served(&database).await;
    let client = aws_sdk_dynamodb::Client::from_conf(engine::config(&endpoint, "000000000001").build());
    let setup = Setup {
        db: Some(camarad::store::Db::new(client.clone(), engine::TABLE)),
        ..Setup::default()
    };
    let t = TestApp::with(setup).await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    ann.get("/api/user").await.json(200);
    let event = recorded(
        t.app.clock(),
        (ann.user.unwrap(), agent),
        "small",
        t.app.clock().now(),
        1,
    );
    seed(&t, &ann, &[event]).await;
    let count = 20_000 * share();
    multiply(&database, &t, &client, count).await;

    let runtime = LambdaPeer::start().await.unwrap();
    let env = [
        ("AWS_LAMBDA_RUNTIME_API", runtime.address()),
        ("AWS_LAMBDA_FUNCTION_NAME", "usage".into()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "usage".into()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "1".into()),
        ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true".into()),
        ("AWS_ACCESS_KEY_ID", "000000000001".into()),
        ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_ENDPOINT_URL", endpoint),
        ("STAGE", "test".into()),
        ("TABLE_NAME", engine::TABLE.into()),
        ("PUBLIC_URL", camarad_tests::app::PUBLIC_URL.into()),
        ("LOG_LEVEL", "ERROR".into()),
    ];
    let env = env
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let program = binaries::folder().join("usage").display().to_string();
    let log = std::env::temp_dir().join(format!("camarad-usage-export-{}.log", std::process::id()));
    let process = Process::start(&[program], &env, &log).unwrap();
    // A first one, of a single row, shows what the function needs at all.
    let tail = path(
        id,
        &format!("&from={}", t.app.clock().now() - SignedDuration::from_hours(1)),
    );
    let small = runtime.offer(ann.event("GET", &tail, None)).await.unwrap();
    let log = || std::fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(
        rows(std::str::from_utf8(small.body()).unwrap()).len(),
        1,
        "{}",
        log()
    );
    let before = peak(&process);
    let began = std::time::Instant::now();
    let large = runtime
        .offer(ann.event("GET", &path(id, ""), None))
        .await
        .unwrap();
    let (took, after) = (began.elapsed(), peak(&process));
    let found = rows(std::str::from_utf8(large.body()).unwrap()).len() as u64;
    assert_eq!(found, count + 1, "{}", log());
    println!(
        "{found} rows, {} MB in {took:?}: {} MB at most, {} MB before",
        large.body().len() / 1_048_576,
        after / MB,
        before / MB
    );
    assert!(after - before < 24 * MB, "{before} KB before, {after} KB after");
    assert!(after < 128 * MB, "{after} KB");
}
