//! cbT from one period to the next: there while a renewal is not paid yet, gone by the plan's rule once it is.

use camarad::domain::ledger::{self, Grant, Operation, Reserve};
use camarad::domain::plans::Plan;
use camarad::domain::usage::quota;
use camarad::domain::workspaces::Workspace;
use camarad::error::Error;
use camarad::ids::{AgentId, OperationId, UserId, WorkspaceId};
use camarad::money::{Amount, Cbt, Positive};
use camarad::store::keys;
use camarad_tests::app::Client;
use camarad_tests::bank;
use camarad_tests::billing::{GOOD, LATER_DECLINED, Shop, days};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::quota::spend;
use crate::workspaces::workspace;

const HALF_AN_HOUR: SignedDuration = SignedDuration::from_mins(30);
const TWO_HOURS: SignedDuration = SignedDuration::from_hours(2);

/// Somebody whose trial of a plan has just begun.
async fn trying(plan: &str, card: &str) -> (Shop, Client) {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, plan, card).await;
    shop.settle().await;
    (shop, ann)
}

/// Somebody who has just paid for the first month of a plan.
async fn paying(plan: &str) -> (Shop, Client) {
    let (shop, ann) = trying(plan, GOOD).await;
    let ann = after(&shop, &ann, period_end(&shop, &ann).await, TWO_HOURS).await;
    (shop, ann)
}

async fn period_end(shop: &Shop, who: &Client) -> Timestamp {
    time(&shop.subscription(who).await["periodEndsAt"])
}

fn time(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

/// It is that long after a moment, and what Stripe told until then is worked off.
async fn after(shop: &Shop, who: &Client, moment: Timestamp, by: SignedDuration) -> Client {
    let now = shop.t.app.clock().now();
    shop.pass((moment + by).duration_since(now)).await;
    shop.settle().await;
    shop.t.sign_in(who.user.unwrap()).await
}

async fn balance(who: &Client) -> Value {
    who.get("/api/ledger/balance").await.json(200)
}

async fn available(who: &Client) -> String {
    balance(who).await["available"].as_str().unwrap().to_owned()
}

/// When what there is goes, soonest first.
async fn lots(who: &Client) -> Vec<Timestamp> {
    let balance = balance(who).await;
    let lots = balance["lots"].as_array().unwrap().iter();
    lots.map(|lot| time(&lot["expiresAt"])).collect()
}

/// An AI call that costs so many cbT.
async fn call(shop: &Shop, who: &Client, cbt: i64) {
    spend(&shop.t.app, who.user.unwrap(), Cbt::whole(cbt).as_micro()).await;
}

async fn status(shop: &Shop, who: &Client) -> String {
    let seen = shop.subscription(who).await;
    seen["status"].as_str().unwrap().to_owned()
}

/// What left because its time had come.
async fn expired(shop: &Shop, who: &Client) -> Vec<String> {
    let all = shop.entries(who).await.into_iter();
    all.filter(|(kind, ..)| kind == "expire")
        .map(|(_, delta, _)| delta)
        .collect()
}

#[tokio::test]
async fn until_a_renewal_is_charged_what_is_left_can_be_spent_and_then_it_goes() {
    let (shop, ann) = paying("personal").await;
    assert_eq!(available(&ann).await, "10000");
    call(&shop, &ann, 1_000).await;
    let end = period_end(&shop, &ann).await;
    assert_eq!(lots(&ann).await, [end]);
    // Stripe's invoice is a draft for an hour.
    let ann = after(&shop, &ann, end, HALF_AN_HOUR).await;
    assert_eq!(status(&shop, &ann).await, "active");
    assert_eq!(available(&ann).await, "9000");
    assert_eq!(lots(&ann).await, [end + days(7)]);
    call(&shop, &ann, 1).await;
    let ann = after(&shop, &ann, end, TWO_HOURS).await;
    let now = balance(&ann).await;
    assert_eq!(
        (&now["available"], &now["used"], &now["quota"]),
        (&json!("10000"), &json!("0"), &json!("10000")),
        "nothing rolls over"
    );
    let gone = expired(&shop, &ann).await;
    assert_eq!(gone, ["-10000", "-8999"], "the trial's, and the month's");
}

#[tokio::test]
async fn what_was_to_try_with_can_be_spent_until_the_first_month_is_paid() {
    let (shop, ann) = trying("business", GOOD).await;
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, HALF_AN_HOUR).await;
    assert_eq!(
        (status(&shop, &ann).await, available(&ann).await),
        ("active".into(), "40000".into())
    );
    call(&shop, &ann, 10).await;
    let ann = after(&shop, &ann, end, TWO_HOURS).await;
    assert_eq!(available(&ann).await, "40000", "a trial does not roll over");
    assert_eq!(expired(&shop, &ann).await, ["-39990"]);
}

#[tokio::test]
async fn in_the_week_of_grace_there_is_what_was_left_and_a_late_payment_takes_it() {
    let (shop, ann) = paying("personal").await;
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    call(&shop, &ann, 4_000).await;
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, days(3)).await;
    assert_eq!(
        (status(&shop, &ann).await, available(&ann).await),
        ("past_due".into(), "6000".into())
    );
    call(&shop, &ann, 500).await;
    // Paid within the week: a whole month, and no more.
    shop.replace_card(&customer, GOOD).await;
    let ann = after(&shop, &ann, end, days(6)).await;
    assert_eq!(status(&shop, &ann).await, "active");
    assert_eq!(
        (available(&ann).await, expired(&shop, &ann).await.pop().unwrap()),
        ("10000".into(), "-5500".into())
    );
}

#[tokio::test]
async fn what_is_never_paid_leaves_with_the_grace() {
    let (shop, ann) = trying("agency", LATER_DECLINED).await;
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, days(7) - SignedDuration::from_mins(1)).await;
    assert_eq!(status(&shop, &ann).await, "past_due");
    call(&shop, &ann, 50_000).await;
    let ann = after(&shop, &ann, end, days(7)).await;
    assert_eq!(available(&ann).await, "0");
    let refused = ledger::reserve(&shop.t.app, &bank::request(&shop.t.app, ann.user.unwrap(), 1)).await;
    assert!(matches!(refused, Err(Error::SubscriptionRequired)), "{refused:?}");
}

#[tokio::test]
async fn a_months_cbt_roll_over_as_the_plan_says() {
    for (plan, months, further) in [
        ("personal", [10, 10, 10, 10], 0),
        ("business", [40, 80, 80, 80], 1),
        ("agency", [150, 300, 450, 450], 2),
    ] {
        let (shop, mut ann) = paying(plan).await;
        for (n, thousands) in months.into_iter().enumerate() {
            assert_eq!(
                available(&ann).await,
                format!("{thousands}000"),
                "{plan}, month {n}"
            );
            let (ends, all) = (period_end(&shop, &ann).await, lots(&ann).await);
            assert_eq!(all.len(), further.min(n) + 1, "{plan}, month {n}: {all:?}");
            // Months are of different lengths: the last day of one may be three sooner in another.
            let near = |a: Timestamp, b: Timestamp| a.duration_since(b).abs() <= days(3);
            let newest = *all.last().unwrap();
            let last = ends + days(i64::try_from(30 * further).unwrap());
            assert!(near(newest, last), "{plan}, month {n}: {newest} for {last}");
            ann = after(&shop, &ann, ends, TWO_HOURS).await;
        }
    }
}

#[tokio::test]
async fn what_rolled_over_is_spent_first() {
    let (shop, ann) = paying("business").await;
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, TWO_HOURS).await;
    call(&shop, &ann, 30_000).await;
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, TWO_HOURS).await;
    assert_eq!(available(&ann).await, "80000", "the second month's are whole");
    assert_eq!(expired(&shop, &ann).await.pop().unwrap(), "-10000");
}

/// The thresholds that a person was told, oldest first; nightly, as if the table's stream had lost all.
async fn warned(shop: &Shop, who: &Client) -> Vec<(Value, Value)> {
    quota::sweep(&shop.t.app).await.unwrap();
    shop.publish().await;
    let page = who.get("/api/notifications?limit=100").await.json(200);
    let items = page["items"].as_array().unwrap().iter();
    let mut told: Vec<_> = items
        .filter(|n| n["type"] == "usage.quota_warning")
        .map(|n| (n["data"]["percent"].clone(), n["data"]["quota"].clone()))
        .collect();
    told.sort_by_key(|(percent, _)| percent.as_i64());
    told
}

#[tokio::test]
async fn a_larger_plan_raises_the_quota_of_its_period_and_warnings_follow() {
    let (shop, ann) = paying("personal").await;
    let ann = after(&shop, &ann, shop.t.app.clock().now(), days(10)).await;
    call(&shop, &ann, 4_000).await;
    ann.once("up")
        .post("/api/billing/change-plan", json!({"planId": "business"}))
        .await
        .json(200);
    shop.settle().await;
    let cbt = |text: &Value| text.as_str().unwrap().parse::<Cbt>().unwrap();
    let more: Cbt = shop.entries(&ann).await.pop().unwrap().1.parse().unwrap();
    assert!(more > Cbt::whole(15_000), "{more}");
    let now = balance(&ann).await;
    assert_eq!(
        cbt(&now["quota"]),
        Cbt::whole(10_000).checked_add(more).unwrap(),
        "{now}"
    );
    assert_eq!(
        (&now["used"], cbt(&now["available"])),
        (&json!("4000"), Cbt::whole(6_000).checked_add(more).unwrap())
    );
    // More than the smaller plan's whole month, and less than half of what there is now.
    call(&shop, &ann, 6_500).await;
    assert_eq!(warned(&shop, &ann).await, []);
    let quota = now["quota"].clone();
    spend(
        &shop.t.app,
        ann.user.unwrap(),
        cbt(&quota).as_micro() * 8 / 10 - Cbt::whole(10_500).as_micro() + 1,
    )
    .await;
    let told: Vec<_> = [50, 80].map(|n| (json!(n), quota.clone())).into();
    assert_eq!(warned(&shop, &ann).await, told);
    let rest: Cbt = available(&ann).await.parse().unwrap();
    spend(&shop.t.app, ann.user.unwrap(), rest.as_micro()).await;
    assert_eq!(warned(&shop, &ann).await.last().unwrap().0, json!(100));
    // The next period begins with the larger plan's.
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, TWO_HOURS).await;
    let now = balance(&ann).await;
    assert_eq!((&now["quota"], &now["used"]), (&json!("40000"), &json!("0")));
}

/// Sells a contract to somebody who subscribes already: from the next period on.
async fn contract(shop: &Shop, who: &Client) {
    let product = shop.form("products", &[("name", "Camarad Custom")]).await;
    let price = shop
        .form(
            "prices",
            &[
                ("product", product["id"].as_str().unwrap()),
                ("unit_amount", "90000"),
                ("currency", "usd"),
                ("lookup_key", &Plan::Custom.lookup_key()),
                ("recurring[interval]", "month"),
            ],
        )
        .await;
    let customer = shop.customer(who).await;
    let all = shop.read(&format!("subscriptions?customer={customer}")).await;
    let subscription = &all["data"][0];
    let change = [
        (
            "items[0][id]",
            subscription["items"]["data"][0]["id"].as_str().unwrap(),
        ),
        ("items[0][price]", price["id"].as_str().unwrap()),
        ("proration_behavior", "none"),
    ];
    let path = format!("subscriptions/{}", subscription["id"].as_str().unwrap());
    shop.form(&path, &change).await;
    shop.settle().await;
}

async fn home(shop: &Shop, id: &str) -> Workspace {
    let id: WorkspaceId = id.parse().unwrap();
    shop.t.app.db().get(&keys::workspace(id)).await.unwrap().unwrap()
}

/// A call in a workspace, on whoever pays for it.
async fn call_in(shop: &Shop, place: &Workspace, member: UserId, cbt: i64) -> Result<(), Error> {
    let app = &shop.t.app;
    let micro = Cbt::whole(cbt).as_micro();
    let mut request = bank::request(app, place.payer(member), micro);
    request.memo.user = member;
    request.memo.agent = AgentId::new(place.id, app.clock());
    request.capped = true;
    match ledger::reserve(app, &request).await? {
        Reserve::Held(held) => {
            let charge = Amount::new(Cbt::whole(cbt)).unwrap();
            ledger::end(app, &held, charge).await.map(drop)
        }
        Reserve::Refused(refused) => Err(refused.error()),
    }
}

#[tokio::test]
async fn a_contract_is_without_limits_shares_its_pool_and_begins_each_period_anew() {
    let (shop, ann) = paying("personal").await;
    contract(&shop, &ann).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["nextPlan"]),
        (&json!("personal"), &json!("custom"))
    );
    let place = workspace(&ann, "Home").await;
    let bob = shop.person("bob").await.user.unwrap();
    assert_eq!(
        home(&shop, &place).await.payer(bob),
        bob,
        "each pays their own yet"
    );
    let end = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, end, TWO_HOURS).await;
    let user = ann.user.unwrap();
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("custom"), &json!("active"))
    );
    let limits = &seen["limits"];
    assert!(
        ["workspaces", "agents", "members"]
            .iter()
            .all(|name| limits[*name] == Value::Null),
        "{limits}"
    );
    for n in 0..4 {
        workspace(&ann, &format!("Home {n}")).await;
    }
    // The smaller plan's month is over; by contract an operator grants what comes instead.
    let begun = balance(&ann).await;
    let period = |b: &Value| time(&b["period"]["start"]);
    assert_eq!(
        (&begun["available"], &begun["quota"], period(&begun)),
        (&json!("0"), &json!("0"), end)
    );
    let granted = Grant {
        operation: Operation::granted(OperationId::new(shop.t.app.clock())),
        amount: Positive::new(Cbt::whole(1_000)).unwrap(),
        ..bank::grant(Operation::topup("none"), 1)
    };
    ledger::grant(&shop.t.app, user, &granted).await.unwrap();
    ann.put(
        &format!("/api/workspaces/{place}/allocation"),
        json!({"limit": "100"}),
    )
    .await
    .json(200);
    shop.publish().await;
    let home = home(&shop, &place).await;
    assert_eq!(home.payer(bob), user, "the owner's pool");
    call_in(&shop, &home, bob, 70).await.unwrap();
    let refused = call_in(&shop, &home, bob, 40).await;
    assert!(matches!(refused, Err(Error::AllocationExhausted)), "{refused:?}");
    let used = balance(&ann).await;
    assert_eq!((&used["used"], &used["available"]), (&json!("70"), &json!("930")));
    let again = period_end(&shop, &ann).await;
    let ann = after(&shop, &ann, again, TWO_HOURS).await;
    let anew = balance(&ann).await;
    assert_eq!(
        (&anew["used"], &anew["available"], period(&anew)),
        (&json!("0"), &json!("930"), again)
    );
    call_in(&shop, &home, bob, 40).await.unwrap();
}
