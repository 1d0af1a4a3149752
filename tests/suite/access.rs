//! ARCHITECTURE.md's access patterns are the keys that store/keys makes, on indexes that template.yaml has.

use std::collections::{BTreeMap, BTreeSet};

use camarad::clock::ManualClock;
use camarad::ids::{
    AgentId, ApiKeyId, AuditId, CallId, ConversationId, EventId, ExportId, IdentityId, NotificationId,
    SessionId, UserId, WorkspaceId,
};
use camarad::store::Key;
use camarad::store::keys::{self, Index, List};
use camarad_tests::app::stack::repository;
use camarad_tests::app::template::template;
use jiff::Timestamp;

fn item(key: Key) -> String {
    format!("`{}` / `{}`", key.pk(), key.sk())
}

fn list(list: List) -> String {
    format!("`{}` / `{}…`", list.pk(), list.prefix())
}

fn index(index: Index) -> String {
    format!("`{}` / `{}`", index.pk(), index.sk())
}

/// Every public function of store/keys that makes a key, called with sample values that are then written as `{name}`.
fn made_by_the_code() -> BTreeMap<&'static str, String> {
    let clock = ManualClock::at_unix(1_700_000_000);
    let (user, session, workspace) = (
        UserId::new(&clock),
        SessionId::new(&clock),
        WorkspaceId::new(&clock),
    );
    let (conversation, call, event, record) = (
        ConversationId::new(&clock),
        CallId::new(&clock),
        EventId::new(&clock),
        AuditId::new(&clock),
    );
    let (agent, api_key) = (AgentId::new(workspace, &clock), ApiKeyId::new(&clock));
    let identity = IdentityId::new(&clock);
    let (export, notice) = (ExportId::new(&clock), NotificationId::new(&clock));
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let rows = [
        ("user", item(keys::user(user))),
        ("account", item(keys::account(user))),
        ("session", item(keys::session(user, session))),
        ("sessions", list(keys::sessions(user))),
        ("api_key", item(keys::api_key(user, api_key))),
        ("api_keys", list(keys::api_keys(user))),
        ("second_factor", item(keys::second_factor(user))),
        ("membership", item(keys::membership(user, workspace))),
        ("memberships", list(keys::memberships(user))),
        ("person", list(keys::person(user))),
        ("export", item(keys::export(user, export))),
        ("deletion", item(keys::deletion(user))),
        ("deletion_due", index(keys::deletion_due(user, at))),
        ("onboarding", item(keys::onboarding(user))),
        ("onboarding_due", index(keys::onboarding_due(user, at))),
        ("email", item(keys::email("hash"))),
        ("identity", item(keys::identity("{provider}", "hash"))),
        ("linked_identity", item(keys::linked_identity(user, identity))),
        ("linked_identities", list(keys::linked_identities(user))),
        ("magic_link", item(keys::magic_link("hash"))),
        ("auth_state", item(keys::auth_state("hash"))),
        ("workspace", item(keys::workspace(workspace))),
        ("member", item(keys::member(workspace, user))),
        ("members", list(keys::members(workspace))),
        ("agent", item(keys::agent(agent))),
        ("agents", list(keys::agents(workspace))),
        ("deleted_agent", item(keys::deleted_agent(agent))),
        ("deleted_agents", list(keys::deleted_agents(workspace))),
        (
            "conversation",
            item(keys::conversation(agent, user, conversation)),
        ),
        ("conversations", list(keys::conversations(agent, user))),
        ("turn", item(keys::turn(conversation, call))),
        ("turns", list(keys::turns(conversation))),
        ("ledger_head", item(keys::ledger_head(user))),
        ("ledger_entry", item(keys::ledger_entry(user, 424_242_424_242))),
        ("ledger_entries", list(keys::ledger_entries(user))),
        (
            "ledger_operation",
            item(keys::ledger_operation(user, "{operation}")),
        ),
        ("ledger_debit", item(keys::ledger_debit(user, "{hash}"))),
        ("hold", item(keys::hold(call))),
        ("ledger_lot", item(keys::ledger_lot(user, at))),
        ("lot_expiry", index(keys::lot_expiry(user, at))),
        ("hold_expiry", index(keys::hold_expiry(call, at))),
        ("ledger_head_place", index(keys::ledger_head_place(user))),
        ("bill", item(keys::bill(call))),
        ("usage_event", item(keys::usage_event(workspace, at, call))),
        ("usage_told", item(keys::usage_told("{source}", "{id}"))),
        ("usage_events", list(keys::usage_events(workspace))),
        (
            "usage_counter",
            item(keys::usage_counter(
                workspace,
                "{bucket}",
                "{dimension}",
                "{start}",
                "{value}",
            )),
        ),
        (
            "usage_counters",
            list(keys::usage_counters(workspace, "{bucket}", "{dimension}")),
        ),
        ("once", item(keys::once(user, "{hash}"))),
        ("audit", item(keys::audit("{scope}", at, record))),
        ("audits", list(keys::audits("{scope}"))),
        ("platform_audits", list(keys::platform_audits(7))),
        ("seal", item(keys::seal("{scope}", 424_242_424_242))),
        ("seals", list(keys::seals("{scope}"))),
        ("sealed", item(keys::sealed("{scope}", at, record))),
        ("chain", item(keys::chain("{scope}"))),
        ("chain_place", index(keys::chain_place("{scope}"))),
        ("person_key", item(keys::person_key(user))),
        ("outbox", item(keys::outbox(event))),
        ("outbox_shard", list(keys::outbox_shard(7))),
        ("rate", item(keys::rate("{class}", "{who}"))),
        ("jwks", item(keys::jwks())),
        ("mail", item(keys::mail(event))),
        ("notice", item(keys::notice(user, notice))),
        ("notices", list(keys::notices(user))),
        ("notice_told", item(keys::notice_told(user, event))),
        ("quota_warned", item(keys::quota_warned(user, at, 111))),
        ("stripe_customer", item(keys::stripe_customer("{customer}"))),
        (
            "stripe_customer_place",
            index(keys::stripe_customer_place(user, "{customer}")),
        ),
        ("stripe_event", item(keys::stripe_event("{id}"))),
        (
            "stripe_event_waiting",
            index(keys::stripe_event_waiting("{id}", at)),
        ),
        ("billing_drift", item(keys::billing_drift(at, user))),
        ("billing_drifts", list(keys::billing_drifts())),
        ("billing_shortfall", item(keys::billing_shortfall("{refund}"))),
        ("billing_shortfalls", list(keys::billing_shortfalls())),
        ("health", item(keys::health())),
    ];
    let names = [
        (user.to_string(), "{user}"),
        (session.to_string(), "{session}"),
        (export.to_string(), "{export}"),
        (api_key.to_string(), "{key}"),
        (identity.to_string(), "{identity}"),
        (workspace.to_string(), "{workspace}"),
        (conversation.to_string(), "{conversation}"),
        (call.to_string(), "{call}"),
        (event.to_string(), "{event}"),
        (notice.to_string(), "{notification}"),
        (record.to_string(), "{audit}"),
        (agent.own(), "{agent}"),
        (keys::digest("hash"), "{hash}"),
        (keys::digest("{source}\n{id}"), "{hash}"),
        ("2023-11-14T22:13:20.000Z".into(), "{time}"),
        ("2023-11-14T22:13:20Z".into(), "{time}"),
        ("#111".into(), "#{percent}"),
        ("424242424242".into(), "{seq}"),
    ];
    rows.into_iter()
        .map(|(name, text)| {
            (
                name,
                shards_named(names.iter().fold(text, |t, (value, n)| t.replace(value, n))),
            )
        })
        .collect()
}

/// `OUTBOX#07` → `OUTBOX#{shard}`
fn shards_named(text: String) -> String {
    [
        "OUTBOX#",
        "HOLDS#",
        "HEADS#",
        "EXPIRING#",
        "CHAINS#",
        "AUDIT#platform#",
        "CUSTOMERS#",
    ]
    .iter()
    .fold(text, |text, prefix| match text.split_once(prefix) {
        Some((before, after)) => format!("{before}{prefix}{{shard}}{}", &after[2..]),
        None => text,
    })
}

/// The rows of ARCHITECTURE.md's table: name → (key condition, index).
fn documented() -> BTreeMap<String, (String, String)> {
    let text = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let section = text
        .split("## Access patterns")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section.lines().filter(|l| l.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        (
            cells[0].trim_matches('`').to_owned(),
            (cells[1].to_owned(), cells[2].to_owned()),
        )
    })
    .collect()
}

#[test]
fn the_table_of_access_patterns_tells_the_keys_that_the_code_makes() {
    let told: BTreeMap<_, _> = documented()
        .into_iter()
        .map(|(name, (key, _))| (name, key))
        .collect();
    let made: BTreeMap<_, _> = made_by_the_code()
        .into_iter()
        .map(|(name, key)| (name.to_owned(), key))
        .collect();
    assert_eq!(told, made);
}

#[test]
fn every_key_that_can_be_made_is_listed() {
    let files = std::fs::read_dir(repository().join("shared/src/store/keys")).unwrap();
    let source: String = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let makers: BTreeSet<_> = source
        .split("\npub fn ")
        .skip(1)
        .filter(|f| {
            let head = f.split('{').next().unwrap();
            ["-> Key", "-> List", "-> Index"].iter().any(|r| head.contains(r))
        })
        .map(|f| f.split('(').next().unwrap().to_owned())
        .collect();
    let listed: BTreeSet<_> = documented().into_keys().collect();
    assert_eq!(makers, listed);
}

#[test]
fn every_index_that_is_asked_is_in_the_template() {
    let table = &template()["Resources"]["Table"]["Properties"];
    let have: BTreeSet<_> = table["GlobalSecondaryIndexes"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|i| i["IndexName"].as_str().unwrap())
        .collect();
    for (name, (_, index)) in documented() {
        assert!(
            index == "table" || have.contains(index.as_str()),
            "{name}: {index}"
        );
    }
}
