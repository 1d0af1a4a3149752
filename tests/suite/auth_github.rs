//! Signing in with GitHub: OAuth without an ID token.

use camarad::config::{ProviderConfig, ProviderKind};
use camarad_tests::app::{Answer, ORIGIN, PUBLIC_URL, Setup, TestApp};
use camarad_tests::peers::github::GithubPeer;
use serde_json::{Value, json};

use crate::auth::{STATE_COOKIE, Started, cookies, query};

struct Scene {
    t: TestApp,
    peer: GithubPeer,
}

/// GitHub as `github`; as `stranger`, with a secret that it does not know; as `moved`, with a callback that it does not know.
async fn scene() -> Scene {
    let callbacks = ["github", "stranger"].map(|id| format!("{PUBLIC_URL}/api/auth/{id}/callback"));
    let peer = GithubPeer::start(&callbacks.each_ref().map(String::as_str))
        .await
        .unwrap();
    let provider = |id: &str| ProviderConfig {
        id: id.into(),
        name: "GitHub".into(),
        kind: ProviderKind::Github,
        issuer: peer.site.clone(),
        client_id: peer.client_id.clone(),
        api_url: Some(peer.api.clone()),
        trusts_email: Some(true),
        ..ProviderConfig::default()
    };
    let setup = Setup {
        providers: ["github", "stranger", "moved"].map(provider).to_vec(),
        provider_secrets: json!({"github": peer.client_secret, "stranger": "wrong", "moved": peer.client_secret}),
        ..Setup::default()
    };
    Scene {
        t: TestApp::with(setup).await,
        peer,
    }
}

impl Scene {
    async fn start(&self, provider: &str, query: &str) -> Started {
        let path = format!("/api/auth/{provider}/login?{query}");
        let answer = self.t.anonymous().get(&path).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        Started {
            url: answer.header("location").unwrap().to_owned(),
            cookie: format!("{STATE_COOKIE}={}", cookies(&answer)[STATE_COOKIE]),
        }
    }

    async fn back(&self, started: &Started, callback: &str) -> Answer {
        let browser = self.t.anonymous().header("Cookie", &started.cookie);
        browser.get(callback.strip_prefix(PUBLIC_URL).unwrap()).await
    }

    async fn whole(&self, provider: &str, query: &str, email: &str) -> Answer {
        let started = self.start(provider, query).await;
        let callback = self.peer.login(&started.url, email).await.unwrap();
        self.back(&started, &callback).await
    }

    async fn tokens(&self, email: &str) -> Value {
        self.whole("github", "mode=token", email).await.json(200)
    }

    async fn reasons(&self) -> Vec<String> {
        let platform = crate::auth::audits(&self.t, "platform").await;
        let mut all: Vec<_> = platform
            .iter()
            .map(|(_, detail)| detail["reason"].as_str().unwrap().to_owned())
            .collect();
        all.sort();
        all
    }
}

#[tokio::test]
async fn somebody_signs_in_with_github_and_stays_the_same_person_under_another_login() {
    let s = scene().await;
    let started = s.start("github", "mode=token").await;
    let asked = query(&started.url);
    assert_eq!(asked["scope"], "read:user user:email");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(!asked.contains_key("nonce"));
    let callback = s.peer.login(&started.url, "Ann@Example.com").await.unwrap();
    let first = s.back(&started, &callback).await.json(200);
    assert_eq!(first["user"]["email"], "ann@example.com");
    assert_eq!(first["user"]["name"], "Ann");
    let avatar = first["user"]["avatarUrl"].as_str().unwrap();
    assert!(avatar.starts_with("https://avatars.example/u/"), "{avatar}");

    s.peer.rename("ann@example.com", "another-login").await.unwrap();
    let second = s.tokens("ann@example.com").await;
    assert_eq!(second["user"]["id"], first["user"]["id"]);
    let user = first["user"]["id"].as_str().unwrap();
    let logins: Vec<_> = crate::auth::audits(&s.t, user)
        .await
        .into_iter()
        .filter(|(action, _)| action == "user.login")
        .collect();
    assert_eq!(logins.len(), 2);
    assert!(
        logins
            .iter()
            .all(|(_, d)| *d == json!({"provider": "github", "method": "oauth"}))
    );
    let ann =
        s.t.anonymous()
            .with_token(second["accessToken"].as_str().unwrap());
    assert_eq!(
        ann.get("/api/auth/session").await.json(200)["session"]["provider"],
        "github"
    );
}

#[tokio::test]
async fn a_login_that_somebody_else_took_over_opens_no_account() {
    let s = scene().await;
    let ann = s.tokens("ann@example.com").await;
    s.peer.rename("ann@example.com", "gone").await.unwrap();
    s.peer.rename("mallory@example.com", "ann").await.unwrap();
    let mallory = s.tokens("mallory@example.com").await;
    assert_ne!(mallory["user"]["id"], ann["user"]["id"]);
}

#[tokio::test]
async fn only_the_primary_verified_address_counts() {
    let s = scene().await;
    for email in ["ann+unverified@example.com", "ann+addressless@example.com"] {
        s.whole("github", "mode=token", email)
            .await
            .assert_problem(403, "email_not_verified");
    }
    assert_eq!(s.reasons().await, ["email_not_verified", "email_not_verified"]);
    let nameless = s.tokens("bob+nameless@example.com").await;
    assert_eq!(nameless["user"]["name"], "bob+nameless");
    let items = s.t.snapshot().await.join("\n");
    assert!(!items.contains("public-address@example.net") && !items.contains("old-"));
}

#[tokio::test]
async fn what_github_refuses_signs_nobody_in() {
    let s = scene().await;
    // A wrong client secret.
    s.whole("stranger", "mode=token", "ann@example.com")
        .await
        .assert_problem(400, "sign_in_failed");
    // A code of another attempt: its verifier is another one.
    let (one, two) = (
        s.start("github", "mode=token").await,
        s.start("github", "mode=token").await,
    );
    let code = query(&s.peer.login(&one.url, "ann@example.com").await.unwrap())["code"].clone();
    let state = &query(&two.url)["state"];
    let mixed = format!("{PUBLIC_URL}/api/auth/github/callback?code={code}&state={state}");
    s.back(&two, &mixed).await.assert_problem(400, "sign_in_failed");
    // A made-up code.
    let state = &query(&one.url)["state"];
    let made_up = format!("{PUBLIC_URL}/api/auth/github/callback?code=made-up&state={state}");
    s.back(&one, &made_up).await.assert_problem(400, "sign_in_failed");
    // A callback that GitHub does not know.
    let moved = s.start("moved", "mode=token").await;
    s.peer.login(&moved.url, "ann@example.com").await.unwrap_err();
    // An answer of another provider, mixed in (RFC 9207).
    let other = s.start("github", "mode=token").await;
    let callback = s.peer.login(&other.url, "ann@example.com").await.unwrap();
    s.back(&other, &format!("{callback}&iss=https://evil.example"))
        .await
        .assert_problem(400, "sign_in_failed");
    assert_eq!(
        s.reasons().await,
        ["code_refused", "code_refused", "code_refused", "response_issuer"]
    );
    let items = s.t.snapshot().await;
    assert!(
        items
            .iter()
            .all(|item| item.contains("AUDIT#platform") || item.contains("STATE#")),
        "{items:?}"
    );
}

#[tokio::test]
async fn an_answer_that_names_github_as_its_issuer_is_taken() {
    let s = scene().await;
    let started = s.start("github", "mode=token").await;
    let callback = s.peer.login(&started.url, "ann@example.com").await.unwrap();
    let callback = format!("{callback}&iss={}/login/oauth", s.peer.site);
    s.back(&started, &callback).await.json(200);
}

#[tokio::test]
async fn an_issuer_that_is_not_githubs_to_the_letter_is_none() {
    let s = scene().await;
    let site = s.peer.site.clone();
    let upper = format!("{site}/login/oauth").replace("http://", "HTTP://");
    for iss in [
        site.as_str(),
        &format!("{site}/"),
        &format!("{site}/login/oauth/"),
        &format!("{site}/login/other"),
        &upper,
        "",
    ] {
        let started = s.start("github", "mode=token").await;
        let callback = s.peer.login(&started.url, "ann@example.com").await.unwrap();
        s.back(&started, &format!("{callback}&iss={iss}"))
            .await
            .assert_problem(400, "sign_in_failed");
    }
    assert_eq!(s.reasons().await, ["response_issuer"; 6]);
}

#[tokio::test]
async fn github_is_no_way_to_prove_once_more_who_one_is() {
    let s = scene().await;
    let tokens = s.tokens("ann@example.com").await;
    let ann =
        s.t.anonymous()
            .with_token(tokens["accessToken"].as_str().unwrap());
    let step_up = "/api/auth/step-up";
    assert_eq!(ann.post(step_up, json!({})).await.json(200), json!({"ways": []}));
    ann.post(step_up, json!({"with": "github"}))
        .await
        .assert_invalid("with");
}

#[tokio::test]
async fn somebody_who_cancels_at_github_is_told_so() {
    let s = scene().await;
    let started = s.start("github", "").await;
    let callback = s.peer.cancel(&started.url).await.unwrap();
    let answer = s.back(&started, &callback).await;
    assert_eq!(
        answer.header("location"),
        Some(format!("{ORIGIN}/?error=access_denied").as_str())
    );
    assert_eq!(s.reasons().await, ["denied"]);
}

#[tokio::test]
async fn github_that_is_gone_is_told_as_such() {
    let s = scene().await;
    let started = s.start("github", "mode=token").await;
    let callback = s.peer.login(&started.url, "ann@example.com").await.unwrap();
    let Scene { t, peer } = s;
    drop(peer);
    let browser = t.anonymous().header("Cookie", &started.cookie);
    browser
        .get(callback.strip_prefix(PUBLIC_URL).unwrap())
        .await
        .assert_problem(502, "upstream_failed");
}
