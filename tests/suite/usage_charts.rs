//! Usage in time zones and shares: nothing is lost between two midnights, and a whole is a whole.

use std::collections::BTreeMap;

use camarad::domain::ledger::UsageRecorded;
use camarad::domain::plans::Plan;
use camarad::domain::usage::stats::{StatsQuery, StatsView, stats};
use camarad::domain::usage::{Bucket, Dimension, Zone, count};
use camarad::ids::{AgentId, UserId, WorkspaceId};
use camarad::money::Cbt;
use camarad::store::cost;
use camarad_tests::app::TestApp;
use camarad_tests::bank::Bank;
use camarad_tests::dice::{Dice, share};
use jiff::tz::{TimeZone, db};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::usage::{deliver, message, recorded, stats as asked, studio};

/// Zones whose offset is no full hour, that change their clocks by half an hour, at midnight or in the south.
const ODD: [&str; 12] = [
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/St_Johns",
    "Africa/Cairo",
    "Pacific/Kiritimati",
    "Pacific/Marquesas",
    "America/New_York",
    "Pacific/Auckland",
    "America/Santiago",
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Events from autumn to summer, many of them within a blink of a quarter of an hour.
fn events(bank: &Bank, dice: &mut Dice, agents: &[AgentId], user: UserId) -> Vec<UsageRecorded> {
    let (first, minutes) = (at("2026-09-20T00:00:00Z"), 270 * 24 * 60);
    (0..600)
        .map(|n| {
            let mut moment = first + SignedDuration::from_mins(i64::try_from(dice.below(minutes)).unwrap());
            if dice.chance(60) {
                let quarter = moment.as_second() - moment.as_second() % 900;
                let blink = SignedDuration::from_millis([-1, 0, 1][n % 3]);
                moment = Timestamp::from_second(quarter).unwrap() + blink;
            }
            let model = *dice.pick(&["small", "large"]);
            let cost = i64::try_from(dice.below(1_000)).unwrap();
            recorded(bank.app.clock(), (user, *dice.pick(agents)), model, moment, cost)
        })
        .collect()
}

/// A workspace in which these were counted.
async fn counted(bank: &Bank, events: &[UsageRecorded]) {
    bank.clock.advance(SignedDuration::from_hours(24 * 400));
    let bodies: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(n, e)| message(n, e).body)
        .collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
    for some in bodies.chunks(100) {
        assert_eq!(count::count(&bank.app, some).await, Vec::<usize>::new());
    }
}

/// Each bucket has exactly the events that its clock shows in it, and all of them together all.
fn compare(view: &StatsView, zone: &TimeZone, events: &[UsageRecorded], by: Dimension) {
    let what = format!("{} {:?} {by:?}", view.timezone, view.range);
    let mut seen = 0;
    let ends = view.buckets.iter().skip(1).map(|b| b.start).chain([view.to]);
    for (bucket, end) in view.buckets.iter().zip(ends) {
        let inside: Vec<_> = events
            .iter()
            .filter(|e| e.at >= bucket.start && e.at < end)
            .collect();
        let cost: i64 = inside.iter().map(|e| e.cost.as_micro()).sum();
        assert_eq!(
            (bucket.counts.calls, bucket.counts.cost),
            (inside.len() as i64, Cbt::micro(cost)),
            "{what} at {}",
            bucket.local
        );
        seen += inside.len();
        // By the clock, not by our own arithmetic.
        let shows = |moment: Timestamp| {
            let clock = zone.to_datetime(moment);
            match view.range {
                Bucket::Hour => (clock.date(), clock.hour()),
                Bucket::Day => (clock.date(), 0),
                Bucket::Month => (clock.date().first_of_month(), 0),
            }
        };
        for event in &inside {
            let (shown, began) = (shows(event.at), shows(bucket.start));
            // Where the clock goes back within an hour, the same hour is shown twice.
            assert!(
                shown == began || view.range == Bucket::Hour && shown.0 == began.0,
                "{what}"
            );
        }
        if let Some(groups) = &bucket.groups {
            let mut expected: BTreeMap<String, i64> = BTreeMap::new();
            for event in &inside {
                *expected.entry(by.value(event)).or_default() += 1;
            }
            let found: BTreeMap<_, _> = groups.iter().map(|g| (g.key.clone(), g.counts.calls)).collect();
            assert_eq!(found, expected, "{what} at {}", bucket.local);
        }
    }
    assert_eq!(view.totals.calls, seen as i64, "{what}");
}

#[tokio::test]
async fn in_every_time_zone_each_bucket_has_the_calls_that_its_clock_shows_in_it() {
    let bank = Bank::open().await;
    let mut dice = Dice::new(4);
    let (user, workspace) = (UserId::new(bank.app.clock()), WorkspaceId::new(bank.app.clock()));
    let agents: Vec<_> = (0..3)
        .map(|_| AgentId::new(workspace, bank.app.clock()))
        .collect();
    let events = events(&bank, &mut dice, &agents, user);
    counted(&bank, &events).await;

    let mut zones: Vec<_> = db()
        .available()
        .map(|name| name.to_string())
        .filter(|n| Zone::parse(n).is_ok())
        .collect();
    zones.sort();
    assert!(zones.len() > 400, "{}", zones.len());
    let mut names: Vec<_> = ODD.map(str::to_owned).to_vec();
    match share() {
        1 => names.extend((0..4).map(|_| dice.pick(&zones).clone())),
        _ => names = zones,
    }
    for (n, name) in names.into_iter().enumerate() {
        let zone = TimeZone::get(&name).unwrap();
        for (range, from, to) in [
            (Bucket::Month, "2026-09-10T00:00:00Z", "2027-07-10T00:00:00Z"),
            (Bucket::Day, "2026-10-20T00:00:00Z", "2026-11-09T00:00:00Z"),
            (Bucket::Day, "2027-03-10T00:00:00Z", "2027-04-30T00:00:00Z"),
            (Bucket::Hour, "2027-03-26T00:00:00Z", "2027-04-06T00:00:00Z"),
        ] {
            let all = [Dimension::All, Dimension::Agent];
            for group_by in all
                .into_iter()
                .skip(n % 2)
                .take(usize::try_from(share()).unwrap())
            {
                let query = StatsQuery {
                    range,
                    zone: Zone::parse(&name).unwrap(),
                    from: Some(at(from)),
                    to: Some(at(to)),
                    group_by,
                };
                let view = stats(bank.app.db(), &[workspace], &query, at(to)).await.unwrap();
                assert!(view.from <= at(from) && view.to >= at(to));
                compare(&view, &zone, &events, group_by);
            }
        }
    }
}

#[tokio::test]
async fn the_calendar_of_utc_costs_one_query_and_another_one_more_for_each_edge() {
    let bank = Bank::open().await;
    let workspace = WorkspaceId::new(bank.app.clock());
    let agent = AgentId::new(workspace, bank.app.clock());
    let event = recorded(
        bank.app.clock(),
        (UserId::new(bank.app.clock()), agent),
        "small",
        at("2026-09-20T00:00:00Z"),
        1,
    );
    counted(&bank, &[event]).await;
    let mut told = Vec::new();
    for (name, range) in [
        ("UTC", Bucket::Day),
        ("Europe/Bucharest", Bucket::Day),
        ("Asia/Kolkata", Bucket::Day),
        ("Europe/Bucharest", Bucket::Month),
        ("Asia/Kolkata", Bucket::Hour),
    ] {
        let query = StatsQuery {
            range,
            zone: Zone::parse(name).unwrap(),
            from: None,
            to: None,
            group_by: Dimension::All,
        };
        let now = at("2026-10-01T12:00:00Z");
        let (view, cost) = cost::metered(stats(bank.app.db(), &[workspace], &query, now)).await;
        view.unwrap();
        told.push((name, cost.calls));
    }
    assert_eq!(
        told,
        [
            ("UTC", 1),
            ("Europe/Bucharest", 31 + 1),
            ("Asia/Kolkata", 31 + 1),
            ("Europe/Bucharest", 13 + 1),
            ("Asia/Kolkata", 1)
        ]
    );
}

#[tokio::test]
async fn stats_follow_the_profiles_time_zone_unless_told_and_say_so() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let user = ann.user.unwrap();
    let events = [
        "2026-03-28T22:30:00Z",
        "2026-03-29T20:59:59.999Z",
        "2026-03-29T21:00:00Z",
    ];
    let messages = events.iter().enumerate();
    let messages = messages
        .map(|(n, moment)| message(n, &recorded(t.app.clock(), (user, agent), "small", at(moment), 1)))
        .collect();
    assert_eq!(deliver(&t, messages).await, Vec::<String>::new());
    ann.patch("/api/user", json!({"timezone": "Europe/Bucharest"}))
        .await
        .json(200);
    let span = "&from=2026-03-29T00:00:00%2B02:00&to=2026-03-31T00:00:00%2B03:00";
    let days = asked(&ann, id, span).await;
    assert_eq!(days["timezone"], "Europe/Bucharest");
    let told: Vec<_> = days["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| {
            (
                b["start"].as_str().unwrap(),
                b["local"].as_str().unwrap(),
                b["calls"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("2026-03-28T22:00:00Z", "2026-03-29T00:00:00+02:00", 2),
            ("2026-03-29T21:00:00Z", "2026-03-30T00:00:00+03:00", 1)
        ]
    );
    let hours = asked(
        &ann,
        id,
        "&range=hour&from=2026-03-28T22:00:00Z&to=2026-03-29T21:00:00Z",
    )
    .await;
    assert_eq!(hours["buckets"].as_array().unwrap().len(), 23);
    let utc = asked(&ann, id, &format!("{span}&timezone=utc")).await;
    assert_eq!(
        (&utc["timezone"], &utc["totals"]["calls"]),
        (&json!("UTC"), &json!(3))
    );
}

#[tokio::test]
async fn a_breakdown_divides_the_whole_and_names_the_agents_that_exist() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id: WorkspaceId = crate::workspaces::workspace(&ann, "Studio")
        .await
        .parse()
        .unwrap();
    let made = ann
        .post(
            &format!("/api/workspaces/{id}/agents"),
            json!({"presetIds": ["ceo"]}),
        )
        .await
        .json(201);
    let ceo: AgentId = made["items"][0]["id"].as_str().unwrap().parse().unwrap();
    let gone = AgentId::new(id, t.app.clock());
    let now = t.app.clock().now();
    let user = ann.user.unwrap();
    let messages = [
        (ceo, "small", 2),
        (gone, "large", 1),
        (gone, "small", 0),
        (ceo, "small", 0),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (agent, model, cost))| message(n, &recorded(t.app.clock(), (user, agent), model, now, cost)))
    .collect();
    assert_eq!(deliver(&t, messages).await, Vec::<String>::new());
    let path = format!("/api/usage/breakdown?workspaceId={id}");
    let view = ann.get(&path).await.json(200);
    let parts: Vec<_> = view["items"].as_array().unwrap().iter().map(essence).collect();
    let name = made["items"][0]["name"].clone();
    assert_eq!(
        parts,
        [
            (json!(ceo), name, json!(66.67), json!(50.0), json!(2)),
            (json!(gone), Value::Null, json!(33.33), json!(50.0), json!(2))
        ]
    );
    assert_eq!(
        (&view["totals"]["calls"], &view["totals"]["cost"]),
        (&json!(4), &json!("0.000003"))
    );
    assert_eq!(
        (&view["groupBy"], &view["timezone"]),
        (&json!("agent"), &json!("UTC"))
    );
    let models = ann.get(&format!("{path}&groupBy=model")).await.json(200);
    let shares: Vec<_> = models["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["callsPercent"].clone())
        .collect();
    assert_eq!(shares, [json!(75.0), json!(25.0)]);
    let members = ann
        .get(&format!("{path}&groupBy=member&timezone=Asia/Tokyo"))
        .await
        .json(200);
    assert_eq!(members["items"][0]["key"], json!(user));
    assert_eq!(members["items"][0]["costPercent"], json!(100.0));
    let past = ann
        .get(&format!("{path}&to=2026-01-01T00:00:00Z"))
        .await
        .json(200);
    assert_eq!(
        (&past["items"], &past["totals"]["calls"]),
        (&json!([]), &json!(0))
    );
    let eve = t.sign_up("eve@example.com", Plan::Business).await;
    eve.get(&path).await.assert_problem(404, "not_found");
}

fn essence(part: &Value) -> (Value, Value, Value, Value, Value) {
    let of = |name: &str| part[name].clone();
    (
        of("key"),
        of("name"),
        of("costPercent"),
        of("callsPercent"),
        of("calls"),
    )
}
