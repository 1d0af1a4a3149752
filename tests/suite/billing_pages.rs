//! Pages of Stripe's that a person is sent to, and what they come back with: cards, invoices, cbT that were bought.

use camarad_tests::app::ORIGIN;
use camarad_tests::billing::{GOOD, LATER_DECLINED, Shop, days};
use serde_json::{Value, json};

#[tokio::test]
async fn a_person_sees_their_card_and_manages_it_on_a_page_of_stripes() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let none = ann.get("/api/billing/payment-method").await.json(200);
    assert_eq!(none, json!({"paymentMethod": null}));
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    let card = ann.get("/api/billing/payment-method").await.json(200);
    let card = &card["paymentMethod"];
    assert_eq!(
        (&card["kind"], &card["brand"], &card["last4"]),
        (&json!("card"), &json!("visa"), &json!("4242"))
    );
    let page = ann
        .post("/api/billing/portal", json!({"returnPath": "/settings"}))
        .await
        .json(201);
    let address = page["url"].as_str().unwrap();
    let seen = reqwest::get(address).await.unwrap();
    assert!(seen.status().is_success(), "{}", seen.status());
    assert!(seen.text().await.unwrap().contains(&format!("{ORIGIN}/settings")));
    // What was changed there shows at once: it is asked of Stripe.
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    let card = ann.get("/api/billing/payment-method").await.json(200);
    assert_eq!(card["paymentMethod"]["last4"], json!("0341"));
}

#[tokio::test]
async fn nobody_is_sent_back_to_an_address_that_is_not_the_frontends() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    for path in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "billing",
        "/a\nb",
    ] {
        let portal = ann.post("/api/billing/portal", json!({"returnPath": path})).await;
        portal.assert_invalid("returnTo");
        for name in ["successPath", "cancelPath"] {
            let page = ann.once(&format!("{name} {}", path.len()));
            let page = page
                .post("/api/billing/checkout", json!({"planId": "personal", name: path}))
                .await;
            page.assert_invalid("returnTo");
        }
    }
    assert!(
        shop.calls("POST")
            .await
            .iter()
            .all(|c| c["path"] != "/v1/checkout/sessions")
    );
}

#[tokio::test]
async fn invoices_are_walked_without_gap_or_repeat() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let none = ann.get("/api/billing/invoices").await.json(200);
    assert_eq!(none["items"], json!([]));
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    let mut ann = ann;
    for _ in 0..4 {
        ann = shop.later(&ann, days(31)).await;
    }
    let all = ann.get("/api/billing/invoices").await.json(200);
    let all = all["items"].as_array().unwrap();
    assert!(all.len() >= 4, "{all:?}");
    assert!(
        all.windows(2)
            .all(|two| two[0]["createdAt"].as_str() >= two[1]["createdAt"].as_str())
    );
    let mut walked: Vec<Value> = Vec::new();
    let mut next = String::new();
    loop {
        let page = ann
            .get(&format!("/api/billing/invoices?limit=2{next}"))
            .await
            .json(200);
        walked.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(walked, *all);
    let paid = &all[0];
    assert_eq!(
        (
            &paid["status"],
            &paid["amountPaid"],
            &paid["amountRemaining"],
            &paid["currency"]
        ),
        (&json!("paid"), &json!(1200), &json!(0), &json!("usd"))
    );
    let shown = reqwest::get(paid["hostedUrl"].as_str().unwrap()).await.unwrap();
    assert!(shown.status().is_success());
    // Another's cursor leads nowhere, and theirs not here.
    let bob = shop.person("bob").await;
    shop.subscribe(&bob, "personal", GOOD).await;
    shop.settle().await;
    let foreign = bob.get(&format!("/api/billing/invoices?limit=2{next}")).await;
    let theirs = foreign.body.clone();
    assert!(
        all.iter().all(|i| !theirs.contains(i["id"].as_str().unwrap())),
        "{theirs}"
    );
}

#[tokio::test]
async fn each_pack_is_granted_once_and_stays() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    let packs = ann.get("/api/billing/plans").await.json(200)["topUps"].clone();
    let packs = packs.as_array().unwrap();
    assert_eq!(packs.len(), 3);
    for pack in packs {
        let cbt = pack["cbt"].as_str().unwrap();
        let page = ann
            .once(cbt)
            .post("/api/billing/topup", json!({"cbt": cbt}))
            .await
            .json(201);
        shop.settle().await;
        let before = shop.entries(&ann).await;
        shop.pay(page["sessionId"].as_str().unwrap(), GOOD).await;
        let news = shop.news().await;
        for told in news.iter().chain(&news) {
            shop.deliver(told).await;
            shop.work().await;
        }
        let after = shop.entries(&ann).await;
        let bought = ("grant".to_owned(), cbt.to_owned(), format!("{cbt} cbT bought"));
        assert_eq!(after, [before, vec![bought]].concat());
        let session = page["sessionId"].as_str().unwrap();
        let charged = shop.read(&format!("checkout/sessions/{session}")).await;
        assert_eq!(charged["amount_total"], pack["price"]);
    }
    let unknown = ann
        .once("none")
        .post("/api/billing/topup", json!({"cbt": "10001"}))
        .await;
    unknown.assert_invalid("cbt");
    // Half a year later, with no subscription any more: what was bought is there.
    ann.post("/api/billing/cancel", json!({})).await.json(200);
    let ann = shop.later(&ann, days(180)).await;
    let balance = ann.get("/api/ledger/balance").await.json(200);
    assert_eq!(balance["balance"], json!("260000"), "{balance}");
}
