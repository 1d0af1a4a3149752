//! Signing in with a strict OpenID provider.

use std::collections::HashMap;

use camarad::config::ProviderConfig;
use camarad::domain::ledger;
use camarad::domain::users::profile::UserView;
use camarad::money::Cbt;
use camarad::store::record::AuditRecord;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::{Answer, Client, MAIL_FROM, ORIGIN, PUBLIC_URL, Setup, TestApp};
use camarad_tests::peers::oidc::OidcPeer;
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use url::Url;

pub const STATE_COOKIE: &str = "__Host-camarad-state";

/// A deployment with one OpenID provider, configured twice: as `local` and as `other`.
pub struct Scene {
    pub t: TestApp,
    pub peer: OidcPeer,
}

/// What a browser holds after it was sent to the provider.
pub struct Started {
    pub url: String,
    pub cookie: String,
}

pub async fn scene() -> Scene {
    scene_signing("RS256").await
}

/// The same, and mail is sent.
pub async fn scene_with_mail() -> Scene {
    scene_of("RS256", Some(MAIL_FROM.into()), true).await
}

/// The same with providers of somebody's own, whose word on an address is not enough.
pub async fn scene_of_strangers() -> Scene {
    scene_of("RS256", Some(MAIL_FROM.into()), false).await
}

async fn scene_signing(alg: &str) -> Scene {
    scene_of(alg, None, true).await
}

/// A provider that signs so, reached by `local`, `other` and, with an issuer that is not its own to the letter, `slash`.
async fn scene_of(alg: &str, mail_from: Option<String>, trusted: bool) -> Scene {
    let callbacks = ["local", "other"].map(|id| format!("{PUBLIC_URL}/api/auth/{id}/callback"));
    let peer = OidcPeer::start_signing(&callbacks.each_ref().map(String::as_str), alg)
        .await
        .unwrap();
    let provider = |id: &str| ProviderConfig {
        id: id.into(),
        name: "Local".into(),
        issuer: peer.issuer.clone(),
        client_id: peer.client_id.clone(),
        trusts_email: trusted.then_some(true),
        ..ProviderConfig::default()
    };
    let setup = Setup {
        providers: vec![
            provider("local"),
            provider("other"),
            ProviderConfig {
                issuer: format!("{}/", peer.issuer),
                ..provider("slash")
            },
        ],
        provider_secrets: json!({"local": peer.client_secret, "other": peer.client_secret}),
        mail_from,
        ..Setup::default()
    };
    Scene {
        t: TestApp::with(setup).await,
        peer,
    }
}

/// The cookies that an answer sets, by name.
pub fn cookies(answer: &Answer) -> HashMap<String, String> {
    let lines = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|v| v.to_str().unwrap());
    let pairs = lines.map(|line| line.split(';').next().unwrap().split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Scene {
    pub async fn start_at(&self, provider: &str, query: &str) -> Started {
        let answer = self
            .t
            .anonymous()
            .get(&format!("/api/auth/{provider}/login?{query}"))
            .await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        Started {
            url: answer.header("location").unwrap().to_owned(),
            cookie: format!("{STATE_COOKIE}={}", cookies(&answer)[STATE_COOKIE]),
        }
    }

    pub async fn start(&self, query: &str) -> Started {
        self.start_at("local", query).await
    }

    /// Signs in at the provider; the callback's path and query.
    pub async fn at_provider(&self, started: &Started, email: &str) -> String {
        let callback = self.peer.login(&started.url, email).await.unwrap();
        callback.strip_prefix(PUBLIC_URL).unwrap().to_owned()
    }

    pub async fn back(&self, started: &Started, callback: &str) -> Answer {
        self.t
            .anonymous()
            .header("Cookie", &started.cookie)
            .get(callback)
            .await
    }

    pub async fn whole(&self, query: &str, email: &str) -> Answer {
        let started = self.start(query).await;
        let callback = self.at_provider(&started, email).await;
        self.back(&started, &callback).await
    }

    /// A program's sign-in: the tokens.
    pub async fn tokens(&self, email: &str) -> Value {
        self.whole("mode=token", email).await.json(200)
    }

    pub fn as_bearer(&self, tokens: &Value) -> Client {
        self.t
            .anonymous()
            .with_token(tokens["accessToken"].as_str().unwrap())
    }

    pub async fn audits(&self, scope: &str) -> Vec<(String, Value)> {
        audits(&self.t, scope).await
    }

    /// What was done, by name: records of one moment have no order.
    pub async fn actions(&self, scope: &str) -> Vec<String> {
        let mut all: Vec<_> = self
            .audits(scope)
            .await
            .into_iter()
            .map(|(action, _)| action)
            .collect();
        all.sort();
        all
    }
}

/// What was done in this scope, with its details.
pub async fn audits(t: &TestApp, scope: &str) -> Vec<(String, Value)> {
    let named = |r: AuditRecord| (r.action.as_str().to_owned(), r.detail);
    audit_records(t, scope).await.into_iter().map(named).collect()
}

/// The records of this scope, oldest first.
pub async fn audit_records(t: &TestApp, scope: &str) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    for part in keys::audit_parts(scope) {
        let page = PageRequest::default();
        let some = t.app.db().list::<AuditRecord>(&part, &page, false).await;
        records.extend(some.unwrap().items);
    }
    records.sort_by_key(|r| r.at);
    records
}

pub fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_program_signs_in_for_the_first_time_and_has_no_subscription_yet() {
    let s = scene().await;
    let providers = s.t.anonymous().get("/api/auth/providers").await.json(200);
    assert_eq!(
        providers["items"][0],
        json!({"id": "local", "name": "Local", "loginUrl": format!("{PUBLIC_URL}/api/auth/local/login")})
    );
    assert_eq!(providers["magicLink"], false);
    let started = s.start("mode=token").await;
    let asked = query(&started.url);
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["scope"], "openid email profile");
    assert!(asked["state"].len() >= 43 && asked["nonce"].len() >= 43);

    let callback = s.at_provider(&started, "Ann@Example.com").await;
    let answer = s.back(&started, &callback).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("set-cookie").is_none());
    let tokens = answer.json(200);
    assert_eq!(
        (&tokens["tokenType"], &tokens["expiresIn"]),
        (&json!("Bearer"), &json!(600))
    );

    let ann = s.as_bearer(&tokens);
    let user: UserView = ann.get("/api/user").await.read(200);
    assert_eq!(
        (user.email.as_str(), user.name.as_str(), user.version),
        ("ann@example.com", "Ann", 1)
    );
    // The provider's picture comes over http: not taken.
    assert_eq!(user.avatar_url, None);
    assert_eq!(tokens["user"]["id"], user.id.to_string());

    let session = ann.get("/api/auth/session").await.json(200);
    assert_eq!(session["user"]["id"], user.id.to_string());
    assert_eq!(session["session"]["provider"], "local");

    let subscription = ann.get("/api/user/subscription").await.json(200);
    assert_eq!(
        (&subscription["plan"], &subscription["status"]),
        (&json!("personal"), &json!("incomplete"))
    );
    assert_eq!(
        (
            &subscription["trialAvailable"],
            &subscription["readOnly"],
            subscription.get("trialEndsAt")
        ),
        (&json!(true), &json!(true), None)
    );
    let balance = ledger::balance(&s.t.app, user.id).await.unwrap();
    assert_eq!(balance.balance, Cbt::ZERO);
    // What is paid for waits for a card, and is told what to do.
    let home = json!({"name": "Home", "type": "personal"});
    let refused = ann.post("/api/workspaces", home).await;
    refused.assert_problem(402, "subscription_required");
    let what = refused.json(402)["detail"].to_string();
    assert!(what.contains("onboarding") && what.contains("checkout"), "{what}");
    ann.patch("/api/user", json!({"name": "Ann B."})).await.json(200);

    let scope = user.id.to_string();
    assert_eq!(
        s.actions(&scope).await,
        ["user.created", "user.login", "user.updated"]
    );
}

#[tokio::test]
async fn the_second_sign_in_is_the_same_person_in_another_session() {
    let s = scene_signing("ES256").await;
    let first = s.tokens("ann@example.com").await;
    s.t.clock.advance(SignedDuration::from_secs(5));
    let second = s.whole("mode=token", "ANN@example.com").await.json(200);
    assert_eq!(first["user"]["id"], second["user"]["id"]);
    assert_ne!(first["user"]["lastLoginAt"], second["user"]["lastLoginAt"]);
    let ann = s.as_bearer(&second);
    assert_eq!(ann.get("/api/user").await.json(200), second["user"]);
    let sessions = [&first, &second].map(|tokens| s.as_bearer(tokens));
    let ids = join_all(sessions.iter().map(|c| c.get("/api/auth/session"))).await;
    assert_ne!(
        ids[0].json(200)["session"]["id"],
        ids[1].json(200)["session"]["id"]
    );
    let actions = s.actions(first["user"]["id"].as_str().unwrap()).await;
    assert_eq!(actions.iter().filter(|a| *a == "user.login").count(), 2);
}

#[tokio::test]
async fn a_browser_signs_in_with_cookies_and_signs_out() {
    let s = scene().await;
    let answer = s
        .whole("returnTo=/agents?tab=mine%23top", "ann@example.com")
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(
        answer.header("location"),
        Some(format!("{ORIGIN}/agents?tab=mine#top").as_str())
    );
    for line in answer.headers.get_all("set-cookie") {
        let line = line.to_str().unwrap();
        assert!(line.starts_with("__Host-camarad-"), "{line}");
        for attribute in ["; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Lax"] {
            assert!(line.contains(attribute), "{line}");
        }
        assert!(!line.contains("Domain"), "{line}");
    }
    let jar: Vec<_> = cookies(&answer)
        .into_iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    assert_eq!(jar.len(), 2);
    let browser = s.t.anonymous().header("Cookie", &jar.join("; "));
    assert_eq!(
        browser.get("/api/user").await.json(200)["email"],
        "ann@example.com"
    );

    let from_elsewhere = browser.header("Origin", "https://evil.example");
    for forged in [&browser, &from_elsewhere] {
        forged
            .post("/api/auth/logout", json!({}))
            .await
            .assert_problem(403, "forbidden");
    }
    let out = browser
        .header("Origin", ORIGIN)
        .send("POST", "/api/auth/logout", None)
        .await;
    out.assert_empty(204);
    assert!(cookies(&out).values().all(String::is_empty) && cookies(&out).len() == 5);

    // The cookies that somebody kept: no more writes, reads for the access token's life at most, no new tokens.
    let kept = browser.header("Origin", ORIGIN);
    kept.patch("/api/user", json!({"name": "X"}))
        .await
        .assert_problem(401, "unauthenticated");
    kept.send("POST", "/api/auth/refresh", None)
        .await
        .assert_problem(401, "unauthenticated");
    kept.get("/api/auth/session")
        .await
        .assert_problem(401, "unauthenticated");
    assert_eq!(kept.get("/api/user").await.status, 200);
    s.t.clock.advance(SignedDuration::from_secs(631));
    kept.get("/api/user").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn two_tabs_of_one_browser_sign_in_side_by_side() {
    let s = scene().await;
    let one = s.start("mode=token").await;
    let answer =
        s.t.anonymous()
            .header("Cookie", &one.cookie)
            .get("/api/auth/local/login?mode=token")
            .await;
    let two = Started {
        url: answer.header("location").unwrap().into(),
        cookie: one.cookie.clone(),
    };
    assert_eq!(
        format!("{STATE_COOKIE}={}", cookies(&answer)[STATE_COOKIE]),
        one.cookie
    );
    for tab in [&two, &one] {
        let callback = s.at_provider(tab, "ann@example.com").await;
        s.back(tab, &callback).await.json(200);
    }
}

#[tokio::test]
async fn racing_first_sign_ins_make_one_person() {
    let s = scene().await;
    let mut ready = Vec::new();
    for _ in 0..6 {
        let started = s.start("mode=token").await;
        let callback = s.at_provider(&started, "ann@example.com").await;
        ready.push((started, callback));
    }
    let answers = join_all(ready.iter().map(|(started, callback)| s.back(started, callback))).await;
    let ids: std::collections::BTreeSet<_> = answers
        .iter()
        .map(|a| a.json(200)["user"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    let id = ids.first().unwrap();
    let actions = s.actions(id).await;
    assert_eq!(actions.iter().filter(|a| *a == "user.created").count(), 1);
    assert_eq!(actions.iter().filter(|a| *a == "user.login").count(), 6);
    let profiles =
        s.t.snapshot()
            .await
            .iter()
            .filter(|item| item.contains("\"PROFILE\""))
            .count();
    assert_eq!(profiles, 1);
}

#[tokio::test]
async fn the_published_key_is_the_one_that_signs() {
    let s = scene().await;
    let answer = s.t.anonymous().get("/.well-known/jwks.json").await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.json(200);
    let tokens = s.tokens("ann@example.com").await;
    let header = tokens["accessToken"].as_str().unwrap().split('.').next().unwrap();
    let header: Value =
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(header.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("EdDSA"), &json!("at+jwt"))
    );
    assert_eq!(header["kid"], keys["keys"][0]["kid"]);
    assert_eq!(
        (&keys["keys"][0]["kty"], keys["keys"][0].get("d")),
        (&json!("OKP"), None)
    );
}
