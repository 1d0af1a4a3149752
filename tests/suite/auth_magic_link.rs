//! Signing in with a link that is mailed.

use std::collections::BTreeSet;

use camarad::domain::ledger;
use camarad::ids::UserId;
use camarad::money::Cbt;
use camarad::store::Db;
use camarad_tests::app::{Answer, Client, MAIL_FROM, ORIGIN, PUBLIC_URL, Setup, TestApp};
use camarad_tests::engine;
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth::{audits, cookies};

pub const VERIFY: &str = "/api/auth/magic-link/verify";
const LINK_COOKIE: &str = "__Host-camarad-link";

pub async fn with_mail() -> TestApp {
    TestApp::with(Setup {
        mail_from: Some(MAIL_FROM.into()),
        ..Setup::default()
    })
    .await
}

async fn ask(t: &TestApp, body: Value) -> Answer {
    t.anonymous().post("/api/auth/magic-link", body).await
}

/// The path and query of the link in the latest mail.
pub async fn mailed(t: &TestApp) -> String {
    let again = t.deliver(&t.mail_queue().await).await;
    assert!(again.is_empty(), "{again:?}");
    let mails = t.mails().await;
    let text = mails.last().unwrap()["BodyText"].as_str().unwrap();
    let link = text
        .lines()
        .find(|line| line.starts_with(PUBLIC_URL))
        .unwrap_or_else(|| panic!("no link: {text}"));
    link.strip_prefix(PUBLIC_URL).unwrap().to_owned()
}

/// A browser that has seen the page of a link, and what its form would send.
pub struct Opened {
    pub browser: Client,
    page: Answer,
    pub form: String,
}

pub async fn open(t: &TestApp, link: &str) -> Opened {
    let page = t.anonymous().get(link).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let cookie = format!("{LINK_COOKIE}={}", cookies(&page)[LINK_COOKIE]);
    let field = |name: &str| {
        let start = format!("name=\"{name}\" value=\"");
        let rest = page.body.split(&start).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    Opened {
        browser: t
            .anonymous()
            .header("Cookie", &cookie)
            .header("Content-Type", "application/x-www-form-urlencoded"),
        form: format!("token={}&nonce={}", field("token"), field("nonce")),
        page,
    }
}

impl Opened {
    pub async fn confirm(&self) -> Answer {
        self.browser.send("POST", VERIFY, Some(self.form.clone())).await
    }
}

/// From nothing to signed in, as a program.
pub async fn tokens(t: &TestApp, email: &str) -> Value {
    ask(t, json!({"email": email, "mode": "token"})).await.json(202);
    let link = mailed(t).await;
    open(t, &link).await.confirm().await.json(200)
}

#[tokio::test]
async fn somebody_new_signs_in_by_mail_and_is_the_same_person_the_next_time() {
    let t = with_mail().await;
    let ways = t.anonymous().get("/api/auth/providers").await.json(200);
    assert_eq!(ways, json!({"items": [], "magicLink": true}));
    let asked = ask(&t, json!({"email": " Ann@Example.com", "mode": "token"})).await;
    assert_eq!(asked.json(202), json!({"expiresIn": 900}));
    let first = open(&t, &mailed(&t).await).await.confirm().await.json(200);
    assert_eq!(first["user"]["email"], "ann@example.com");
    assert_eq!(first["user"]["name"], "ann");
    let user = first["user"]["id"].as_str().unwrap();
    let balance = ledger::balance(&t.app, user.parse::<UserId>().unwrap())
        .await
        .unwrap();
    assert_eq!(balance.balance, Cbt::ZERO);

    let second = tokens(&t, "ann@EXAMPLE.com").await;
    assert_eq!(second["user"]["id"], first["user"]["id"]);
    let ann = t.anonymous().with_token(second["accessToken"].as_str().unwrap());
    assert_eq!(
        ann.get("/api/auth/session").await.json(200)["session"]["provider"],
        "email"
    );
    let logins: Vec<_> = audits(&t, user)
        .await
        .into_iter()
        .filter(|(action, _)| action == "user.login")
        .map(|(_, detail)| detail)
        .collect();
    let by_mail = json!({"provider": "email", "method": "magic_link"});
    assert_eq!(logins, [by_mail.clone(), by_mail]);
}

#[tokio::test]
async fn a_browser_goes_on_to_the_frontend_signed_in() {
    let t = with_mail().await;
    ask(
        &t,
        json!({"email": "ann@example.com", "returnTo": "/agents?tab=mine#top"}),
    )
    .await
    .json(202);
    let opened = open(&t, &mailed(&t).await).await;
    let page = &opened.page;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        policy.contains(&format!("form-action 'self' {ORIGIN};")),
        "{policy}"
    );
    assert!(
        !policy.contains("script-src") && !page.body.contains("<script"),
        "{policy}"
    );
    assert!(page.body.contains("ann@example.com"), "{}", page.body);

    let answer = opened.confirm().await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(
        answer.header("location"),
        Some(format!("{ORIGIN}/agents?tab=mine#top").as_str())
    );
    let jar: Vec<_> = cookies(&answer)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let signed_in = t.anonymous().header("Cookie", &jar.join("; "));
    assert_eq!(
        signed_in.get("/api/user").await.json(200)["email"],
        "ann@example.com"
    );
    let late = opened.confirm().await;
    assert_eq!(
        late.header("location"),
        Some(format!("{ORIGIN}/?error=sign_in_failed").as_str())
    );
    assert!(late.header("set-cookie").is_none());
}

#[tokio::test]
async fn a_scanner_that_fetches_the_link_neither_signs_in_nor_uses_it_up() {
    let t = with_mail().await;
    ask(&t, json!({"email": "ann@example.com", "mode": "token"}))
        .await
        .json(202);
    let link = mailed(&t).await;
    let before = t.snapshot().await;
    for method in ["GET", "HEAD", "GET"] {
        let scanned = t.anonymous().send(method, &link, None).await;
        assert_eq!(scanned.status, 200);
        let names: Vec<_> = cookies(&scanned).into_keys().collect();
        assert_eq!(names, [LINK_COOKIE]);
    }
    // One that presses buttons too, but keeps no cookies; one with cookies of another visit or link; one that guesses.
    let opened = open(&t, &link).await;
    let other = open(&t, &link).await;
    ask(&t, json!({"email": "bob@example.com", "mode": "token"}))
        .await
        .json(202);
    let bobs = open(&t, &mailed(&t).await).await;
    let after_bob = t.snapshot().await;
    let form = "application/x-www-form-urlencoded";
    let cookieless = t.anonymous().header("Content-Type", form);
    let refused = |answer: Answer| answer.assert_problem(400, "sign_in_failed");
    refused(cookieless.send("POST", VERIFY, Some(opened.form.clone())).await);
    refused(
        other
            .browser
            .send("POST", VERIFY, Some(opened.form.clone()))
            .await,
    );
    let token = opened.form.split('&').next().unwrap();
    let bobs_nonce = bobs.form.split('&').nth(1).unwrap();
    refused(
        bobs.browser
            .send("POST", VERIFY, Some(format!("{token}&{bobs_nonce}")))
            .await,
    );
    refused(
        opened
            .browser
            .send("POST", VERIFY, Some(format!("{token}&nonce=x")))
            .await,
    );
    assert_eq!(after_bob, t.snapshot().await);
    assert_eq!(before.len() + 2, after_bob.len(), "bob's link and his mail");
    opened.confirm().await.json(200);
}

#[tokio::test]
async fn a_link_works_once_even_for_many_at_once_and_for_fifteen_minutes() {
    let t = with_mail().await;
    ask(&t, json!({"email": "ann@example.com", "mode": "token"}))
        .await
        .json(202);
    let link = mailed(&t).await;
    let tabs = join_all((0..8).map(|_| open(&t, &link))).await;
    let answers = join_all(tabs.iter().map(Opened::confirm)).await;
    let statuses: Vec<_> = answers.iter().map(|a| a.status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|s| [200, 400].contains(s)), "{statuses:?}");

    ask(&t, json!({"email": "ann@example.com", "mode": "token"}))
        .await
        .json(202);
    let late = open(&t, &mailed(&t).await).await;
    t.clock.advance(SignedDuration::from_mins(15));
    late.confirm().await.assert_problem(400, "sign_in_failed");
    let platform = audits(&t, "platform").await;
    assert_eq!(
        platform,
        [(
            "user.login_failed".to_owned(),
            json!({"provider": "email", "method": "magic_link", "reason": "link_expired"})
        )]
    );
}

#[tokio::test]
async fn two_links_to_somebody_new_make_one_person() {
    let t = with_mail().await;
    let mut opened = Vec::new();
    for _ in 0..4 {
        ask(&t, json!({"email": "ann@example.com", "mode": "token"}))
            .await
            .json(202);
        opened.push(open(&t, &mailed(&t).await).await);
    }
    let answers = join_all(opened.iter().map(Opened::confirm)).await;
    let people: BTreeSet<_> = answers
        .iter()
        .map(|a| a.json(200)["user"]["id"].to_string())
        .collect();
    assert_eq!(people.len(), 1);
}

#[tokio::test]
async fn whether_an_address_has_an_account_shows_neither_in_the_answer_nor_in_what_is_done() {
    let t = with_mail().await;
    tokens(&t, "ann@example.com").await;
    t.clock.advance(SignedDuration::from_hours(1));
    let known = ask(&t, json!({"email": "ann@example.com"})).await;
    let unknown = ask(&t, json!({"email": "nobody@example.com"})).await;
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
    let names = |answer: &Answer| -> BTreeSet<_> { answer.headers.keys().map(ToString::to_string).collect() };
    assert_eq!(names(&known), names(&unknown));
    let work = |answer: &Answer| (answer.cost.calls, answer.cost.serial);
    assert_eq!(work(&known), work(&unknown));
    t.deliver(&t.mail_queue().await).await;
    let mails = t.mails().await;
    let [.., one, two] = mails.as_slice() else {
        panic!("{mails:?}")
    };
    for (mail, to) in [(one, "ann@example.com"), (two, "nobody@example.com")] {
        assert_eq!((&mail["To"], &mail["Source"]), (&json!([to]), &json!(MAIL_FROM)));
        let neutral = mail["BodyText"].as_str().unwrap().replace(to, "");
        assert!(!neutral.contains("ccount"), "{neutral}");
    }
}

#[tokio::test]
async fn nothing_readable_of_a_link_stays_in_the_table() {
    let t = with_mail().await;
    ask(&t, json!({"email": "ann@example.com"})).await.json(202);
    let link = mailed(&t).await;
    let token = link.split("token=").nth(1).unwrap();
    let secret = token.split('.').nth(1).unwrap();
    assert!(secret.len() >= 43, "256 bits: {secret}");
    let table = t.snapshot().await.join("\n");
    for readable in [
        token,
        secret,
        "ann@example.com",
        &data_encoding::BASE64URL_NOPAD.encode(b"ann@example.com"),
    ] {
        assert!(!table.contains(readable), "{readable}");
    }
}

#[tokio::test]
async fn while_links_cannot_be_counted_none_is_mailed() {
    let nowhere = engine::config("http://127.0.0.1:9", "000000000001").build();
    let t = TestApp::with(Setup {
        mail_from: Some(MAIL_FROM.into()),
        db: Some(Db::new(
            aws_sdk_dynamodb::Client::from_conf(nowhere),
            engine::TABLE,
        )),
        ..Setup::default()
    })
    .await;
    ask(&t, json!({"email": "ann@example.com"}))
        .await
        .assert_problem(503, "unavailable");
    assert!(t.mail_queue().await.is_empty());
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_and_a_link_that_is_not_whole_are_refused() {
    let t = with_mail().await;
    let before = t.snapshot().await;
    for email in [
        "",
        "ann",
        "ann@",
        "a@b@c.example",
        "ann@example.com\r\nBcc: x@y.example",
        "<ann@example.com>",
    ] {
        ask(&t, json!({"email": email})).await.assert_invalid("email");
    }
    let email = "ann@example.com";
    ask(&t, json!({"email": email, "mode": "popup"}))
        .await
        .assert_invalid("mode");
    for elsewhere in ["https://evil.example/", "//evil.example", "/\\evil.example"] {
        ask(&t, json!({"email": email, "returnTo": elsewhere}))
            .await
            .assert_invalid("returnTo");
    }
    ask(&t, json!({"email": email, "next": "/"}))
        .await
        .assert_invalid("next");
    let nobody = t.anonymous();
    let cut = nobody.get(&format!("{VERIFY}?token=b.cut")).await;
    assert_eq!(
        cut.header("location"),
        Some(format!("{ORIGIN}/?error=sign_in_failed").as_str())
    );
    nobody
        .header("Accept", "application/json")
        .get(&format!("{VERIFY}?token=b.cut"))
        .await
        .assert_problem(400, "sign_in_failed");
    nobody.get(VERIFY).await.assert_problem(422, "invalid");
    nobody
        .post(VERIFY, json!({"token": "t.x", "nonce": "y"}))
        .await
        .assert_problem(400, "sign_in_failed");
    nobody
        .header("Content-Type", "text/plain")
        .send("POST", VERIFY, Some("token=t.x&nonce=y".into()))
        .await
        .assert_problem(415, "unsupported_media_type");
    assert_eq!(before, t.snapshot().await);
    assert!(t.mail_queue().await.is_empty());

    let silent = TestApp::new().await;
    ask(&silent, json!({"email": email}))
        .await
        .assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_program_opens_and_uses_a_link_as_json() {
    let t = with_mail().await;
    ask(&t, json!({"email": "ann@example.com", "mode": "token"}))
        .await
        .json(202);
    let link = mailed(&t).await;
    let opened = t
        .anonymous()
        .header("Accept", "application/json")
        .get(&link)
        .await;
    let cookie = format!("{LINK_COOKIE}={}", cookies(&opened)[LINK_COOKIE]);
    let told = opened.json(200);
    assert_eq!(told["email"], "ann@example.com");
    let body = json!({"token": link.split("token=").nth(1), "nonce": told["nonce"]});
    t.anonymous()
        .post(VERIFY, body.clone())
        .await
        .assert_problem(400, "sign_in_failed");
    let browser = t.anonymous().header("Cookie", &cookie);
    browser.post(VERIFY, body).await.json(200);
}

#[tokio::test]
async fn an_account_that_came_with_a_provider_is_entered_by_its_address_too() {
    let s = crate::auth::scene_with_mail().await;
    let by_provider = s.tokens("ann@example.com").await;
    let by_mail = tokens(&s.t, "ann@example.com").await;
    assert_eq!(by_mail["user"]["id"], by_provider["user"]["id"]);
    // The other way round: a provider opens no account that it did not open before.
    tokens(&s.t, "bob@example.com").await;
    s.whole("mode=token", "bob@example.com")
        .await
        .assert_problem(409, "account_exists");
}
