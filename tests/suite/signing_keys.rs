//! The keys that sign access tokens: made, published, used, taken back.

use camarad::config::Config;
use camarad::domain::auth::key_ring::{KeySet, LEAD};
use camarad::domain::auth::signing::{self, Rotation};
use camarad::domain::plans::Plan;
use camarad_tests::app::{Client, TestApp};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

fn part(token: &str, n: usize) -> Value {
    let part = token.split('.').nth(n).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

fn kid(client: &Client) -> String {
    part(client.token.as_deref().unwrap(), 0)["kid"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn published(t: &TestApp) -> Vec<String> {
    let set = t.anonymous().get("/.well-known/jwks.json").await.json(200);
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|k| k["kid"].as_str().unwrap().to_owned()).collect()
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

#[tokio::test]
async fn a_rotation_publishes_first_signs_later_and_takes_back_last() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let (user, old) = (ann.user.unwrap(), kid(&ann));
    assert_eq!(signing::rotate(&t.app).await.unwrap(), Rotation::NotDue);
    t.clock.advance(days(30));
    let before = t.sign_in(user).await;
    assert_eq!(signing::rotate(&t.app).await.unwrap(), Rotation::Made);
    assert_eq!(signing::rotate(&t.app).await.unwrap(), Rotation::NotDue);

    // Published, and not used yet.
    let both = published(&t).await;
    assert_eq!((both.len(), &both[0]), (2, &old));
    assert_eq!(kid(&t.sign_in(user).await), old);
    t.clock.advance(LEAD);
    let last = t.sign_in(user).await;
    assert_eq!(kid(&last), both[1]);
    before
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");
    last.get("/api/user").await.json(200);

    // Every token of the old key is over before it goes.
    t.clock.advance(SignedDuration::from_mins(39));
    signing::rotate(&t.app).await.unwrap();
    assert_eq!(published(&t).await.len(), 2);
    t.clock.advance(SignedDuration::from_mins(2));
    signing::rotate(&t.app).await.unwrap();
    t.clock.advance(SignedDuration::from_mins(6));
    assert_eq!(published(&t).await, both[1..]);
    signing::rotate(&t.app).await.unwrap();
    assert_eq!(published(&t).await, both[1..], "it does not come again");
}

#[tokio::test]
async fn a_token_of_the_old_key_is_good_until_its_own_end() {
    let t = TestApp::new().await;
    let user = t.sign_up("ann@example.com", Plan::Personal).await.user.unwrap();
    t.clock.advance(days(30));
    signing::rotate(&t.app).await.unwrap();
    t.clock.advance(LEAD - SignedDuration::from_secs(1));
    let old = t.sign_in(user).await;
    t.clock.advance(SignedDuration::from_mins(9));
    let new = t.sign_in(user).await;
    assert_ne!(kid(&old), kid(&new));
    for client in [&old, &new] {
        client.get("/api/user").await.json(200);
    }
}

#[tokio::test]
async fn racing_rotations_make_one_key() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    t.clock.advance(days(31));
    let done = join_all((0..12).map(|_| signing::rotate(&t.app))).await;
    let made = done.iter().filter(|r| matches!(r, Ok(Rotation::Made))).count();
    assert_eq!(made, 1, "{done:?}");
    assert_eq!(KeySet::read(t.app.db()).await.unwrap().keys.len(), 2);
    t.clock.advance(LEAD);
    t.sign_in(ann.user.unwrap())
        .await
        .get("/api/user")
        .await
        .json(200);
}

#[tokio::test]
async fn a_rotation_that_died_after_the_secret_is_finished_by_the_next() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let (user, old) = (ann.user.unwrap(), kid(&ann));
    t.clock.advance(days(30));
    // The secret has the new key, the table does not, and the dead run's reservation is still there.
    let set = KeySet::read(t.app.db()).await.unwrap();
    let until = t.app.clock().now() + SignedDuration::from_mins(2);
    set.reserve(t.app.db(), t.app.clock().now(), until)
        .await
        .unwrap()
        .unwrap();
    let seeds = json!({"keys": [
        {"seed": "a seed of tests, which is long enough to be taken as one"},
        {"seed": "another seed of tests, which is just as long as the first", "createdAt": t.app.clock().now()},
    ]});
    let id = Config::need(&t.app.config().signing_keys_secret, "x").unwrap();
    t.app
        .secrets()
        .unwrap()
        .replace(id, seeds.to_string().into())
        .await
        .unwrap();

    // Nobody signs with a key that nobody can check.
    t.clock.advance(days(1));
    let still = t.sign_in(user).await;
    assert_eq!(kid(&still), old);
    assert_eq!(signing::rotate(&t.app).await.unwrap(), Rotation::Resumed);
    assert_eq!(kid(&t.sign_in(user).await), old);
    t.clock.advance(LEAD);
    let new = t.sign_in(user).await;
    assert_ne!(kid(&new), old);
    new.get("/api/user").await.json(200);
    assert_eq!(signing::rotate(&t.app).await.unwrap(), Rotation::NotDue);
}

#[tokio::test]
async fn racing_first_sign_ins_of_a_deployment_publish_one_key() {
    let t = TestApp::new().await;
    assert!(KeySet::read(t.app.db()).await.unwrap().keys.is_empty());
    let (first, second) = tokio::join!(
        t.sign_up("ann@example.com", Plan::Personal),
        t.sign_up("bob@example.com", Plan::Personal)
    );
    for client in [first, second] {
        client.get("/api/user").await.json(200);
    }
    assert_eq!(KeySet::read(t.app.db()).await.unwrap().keys.len(), 1);
}

#[tokio::test]
async fn made_up_key_ids_make_a_function_read_at_most_once_a_minute() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let token = ann.token.clone().unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let mut reads = Vec::new();
    for n in 0..40 {
        let head = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("made-up-{n}")});
        let head = BASE64URL_NOPAD.encode(head.to_string().as_bytes());
        let answer = ann.with_token(&format!("{head}.{rest}")).get("/api/user").await;
        answer.assert_problem(401, "unauthenticated");
        reads.push(answer.cost.calls);
        t.clock.advance(SignedDuration::from_secs(3));
    }
    assert!((1..=2).contains(&reads.iter().sum::<u32>()), "{reads:?}");
}

#[tokio::test]
async fn no_token_of_the_families_that_fool_libraries_is_taken() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let good = ann.token.clone().unwrap();
    let kid = kid(&ann);
    let set = KeySet::read(t.app.db()).await.unwrap();
    let jwk = serde_json::to_value(&set.keys[0].jwk).unwrap();
    let [head, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let key = jwk["x"].as_str().unwrap();
    // HS256 over the public key, as text and as bytes.
    let hs = encode(&json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}).to_string());
    let forged = |secret: &[u8]| {
        use hmac::Mac;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.update(format!("{hs}.{claims}").as_bytes());
        format!(
            "{hs}.{claims}.{}",
            BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
        )
    };
    let mine = ed25519(&[7; 32]);
    let signed = |header: &str, claims: &str| mine.sign(&encode(header), claims);
    let changed = |name: &str, value: Value| {
        let mut all = part(&good, 1);
        all[name] = value;
        encode(&all.to_string())
    };
    let bad = [
        format!(
            "{}.{claims}.",
            encode(&json!({"alg": "none", "typ": "at+jwt", "kid": kid}).to_string())
        ),
        format!(
            "{}.{claims}.{signature}",
            encode(&json!({"alg": "None", "typ": "at+jwt", "kid": kid}).to_string())
        ),
        forged(key.as_bytes()),
        forged(&BASE64URL_NOPAD.decode(key.as_bytes()).unwrap()),
        // A key that the token brings along.
        signed(
            &json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid, "jwk": mine.jwk()}).to_string(),
            claims,
        ),
        signed(
            &json!({"alg": "EdDSA", "typ": "at+jwt", "jwk": mine.jwk()}).to_string(),
            claims,
        ),
        signed(
            &json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "mine", "jku": "https://evil.example/jwks"})
                .to_string(),
            claims,
        ),
        // The same name twice.
        signed(
            &format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"mine","kid":"{kid}"}}"#),
            claims,
        ),
        format!(
            "{}.{claims}.{signature}",
            encode(&format!(
                r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"mine","kid":"{kid}"}}"#
            ))
        ),
        // Another kind of token of ours, and none.
        format!(
            "{}.{claims}.{signature}",
            encode(&json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}).to_string())
        ),
        // Claims that were not signed.
        format!("{head}.{}.{signature}", changed("exp", json!(9_999_999_999_u64))),
        format!(
            "{head}.{}.{signature}",
            changed("aud", json!("https://else.example"))
        ),
    ];
    for token in &bad {
        ann.with_token(token)
            .get("/api/user")
            .await
            .assert_problem(401, "unauthenticated");
    }
    ann.get("/api/user").await.json(200);
}

/// A signer of the attacker's own.
struct Mine(ed25519_dalek::SigningKey);

fn ed25519(seed: &[u8; 32]) -> Mine {
    Mine(ed25519_dalek::SigningKey::from_bytes(seed))
}

impl Mine {
    fn jwk(&self) -> Value {
        let x = BASE64URL_NOPAD.encode(self.0.verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x})
    }

    fn sign(&self, head: &str, claims: &str) -> String {
        use ed25519_dalek::Signer;
        let signature = self.0.sign(format!("{head}.{claims}").as_bytes());
        format!(
            "{head}.{claims}.{}",
            BASE64URL_NOPAD.encode(&signature.to_bytes())
        )
    }
}

#[tokio::test]
async fn a_token_of_ours_for_another_api_or_from_another_is_refused() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    // The same keys and table under another address.
    let elsewhere = Config {
        public_url: "https://api.elsewhere.test".into(),
        ..t.app.config().clone()
    };
    let other = camarad::domain::auth::tokens::Tokens::new(&elsewhere);
    let now = t.app.clock().now();
    assert!(
        other
            .check(t.app.db(), ann.token.as_deref().unwrap(), now)
            .await
            .is_err()
    );
    let session = part(ann.token.as_deref().unwrap(), 1)["sid"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let foreign = other
        .sign(&t.app, (ann.user.unwrap(), session), now, now)
        .await
        .unwrap();
    ann.with_token(&foreign)
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");
}
