//! What races the deletion of an account: sign-ins, refreshes, new API keys. Whoever wins, nothing that opens the account is
//! left once the deletion is answered, and nothing personal once its job is done.

use std::time::Duration;

use camarad::domain::auth::api_keys::ApiKey;
use camarad::domain::auth::second_factor::shown;
use camarad::domain::auth::sessions::Session;
use camarad::domain::outbox;
use camarad::domain::users::deletion;
use camarad::ids::UserId;
use camarad::store::keys;
use camarad_tests::app::{Answer, Client, TestApp};
use camarad_tests::dice::{Dice, share};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::account_deletion::delete;
use crate::auth::{Scene, scene};

const KEYS: &str = "/api/user/security/api-keys";

/// How many rounds of each race.
fn rounds() -> u64 {
    6 * share()
}

/// Somebody who comes and goes in one round.
struct Racer {
    email: String,
    user: UserId,
    tokens: Value,
    client: Client,
}

async fn racer(s: &Scene, round: u64) -> Racer {
    let email = format!("racer{round}@example.com");
    let tokens = s.tokens(&email).await;
    Racer {
        user: tokens["user"]["id"].as_str().unwrap().parse().unwrap(),
        client: s.as_bearer(&tokens),
        tokens,
        email,
    }
}

/// Sends a request a few milliseconds later: none, to about as many as a deletion takes.
async fn shortly<T>(dice: &mut Dice, request: impl Future<Output = T>) -> T {
    let wait = Duration::from_millis(dice.below(60));
    tokio::time::sleep(wait).await;
    request.await
}

/// Nothing of the account opens anything any more.
async fn assert_shut(t: &TestApp, racer: &Racer, round: u64) {
    let db = t.app.db();
    let now = t.app.clock().now();
    let sessions = db.all::<Session>(&keys::sessions(racer.user)).await.unwrap();
    let live: Vec<_> = sessions.iter().filter(|s| s.is_live(now)).collect();
    assert!(live.is_empty(), "round {round}: {live:?}");
    let left = db.all::<ApiKey>(&keys::api_keys(racer.user)).await.unwrap();
    assert!(left.is_empty(), "round {round}: {left:?}");
}

/// Lets the jobs run to their ends; afterwards there are no people.
async fn assert_gone(t: &TestApp, racers: &[Racer]) {
    for _ in 0..2 {
        for racer in racers {
            deletion::carry_on(&t.app, racer.user).await.unwrap();
        }
        t.clock.advance(SignedDuration::from_mins(17));
    }
    outbox::sweep(&t.app).await.unwrap();
    let table = t.snapshot().await;
    for racer in racers {
        let name = racer.email.split('@').next().unwrap();
        let personal = table.iter().find(|item| item.contains(name));
        assert!(personal.is_none(), "{personal:?}");
        let partition = format!("S(\"USER#{}\")", racer.user);
        let of_theirs: Vec<_> = table.iter().filter(|item| item.contains(&partition)).collect();
        assert_eq!(of_theirs.len(), 1, "{of_theirs:#?}");
        assert!(of_theirs[0].contains("S(\"ACCOUNT\")"));
    }
}

fn accepted(answers: &[Answer], status: u16) -> Vec<Value> {
    let some = answers.iter().filter(|a| a.status == status);
    some.map(|a| a.json(status)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_races_the_deletion_leaves_no_session() {
    let s = scene().await;
    let mut dice = Dice::new(31);
    let mut racers = Vec::new();
    for round in 0..rounds() {
        let racer = racer(&s, round).await;
        let mut ready = Vec::new();
        for _ in 0..3 {
            let started = s.start("mode=token").await;
            let callback = s.at_provider(&started, &racer.email).await;
            ready.push((started, callback, dice.split()));
        }
        let sign_ins = ready
            .iter_mut()
            .map(|(started, callback, dice)| shortly(dice, s.back(started, callback)));
        let (deleted, answers) = tokio::join!(delete(&racer.client), join_all(sign_ins));
        deleted.json(202);
        for answer in &answers {
            assert!(
                [200, 409].contains(&answer.status),
                "round {round}: {}",
                answer.body
            );
        }
        assert_shut(&s.t, &racer, round).await;
        for tokens in accepted(&answers, 200) {
            let signed_in = s.as_bearer(&tokens);
            let write = signed_in.patch("/api/user", json!({"name": "X"}));
            write.await.assert_problem(401, "unauthenticated");
        }
        racers.push(racer);
    }
    assert_gone(&s.t, &racers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_that_is_made_while_the_account_goes_opens_nothing() {
    let s = scene().await;
    let mut dice = Dice::new(32);
    let (mut racers, mut made) = (Vec::new(), 0);
    for round in 0..rounds() {
        let racer = racer(&s, round).await;
        let body = json!({"name": "Robot", "scopes": ["user:read"]});
        racer.client.post(KEYS, body.clone()).await.json(201);
        let mut dices: Vec<_> = (0..4).map(|_| dice.split()).collect();
        let creations = dices
            .iter_mut()
            .map(|dice| shortly(dice, racer.client.post(KEYS, body.clone())));
        let (deleted, answers) = tokio::join!(delete(&racer.client), join_all(creations));
        deleted.json(202);
        for answer in &answers {
            assert!(
                [201, 401].contains(&answer.status),
                "round {round}: {}",
                answer.body
            );
        }
        assert_shut(&s.t, &racer, round).await;
        for created in accepted(&answers, 201) {
            made += 1;
            let robot = s.t.anonymous().with_token(created["key"].as_str().unwrap());
            robot
                .get("/api/user")
                .await
                .assert_problem(401, "unauthenticated");
        }
        racers.push(racer);
    }
    println!("{made} keys were made in time");
    assert_gone(&s.t, &racers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_races_the_deletion_brings_nothing_back() {
    let s = scene().await;
    let mut dice = Dice::new(33);
    let mut racers = Vec::new();
    for round in 0..rounds() {
        let racer = racer(&s, round).await;
        let mut others = Vec::new();
        for _ in 0..2 {
            others.push((s.tokens(&racer.email).await, dice.split()));
        }
        others.push((racer.tokens.clone(), dice.split()));
        let anonymous = s.t.anonymous();
        let refresh = |tokens: &Value| {
            let body = json!({"refreshToken": tokens["refreshToken"]});
            let anonymous = anonymous.clone();
            async move { anonymous.post("/api/auth/refresh", body).await }
        };
        let refreshes = others
            .iter_mut()
            .map(|(tokens, dice)| shortly(dice, refresh(tokens)));
        let (deleted, answers) = tokio::join!(delete(&racer.client), join_all(refreshes));
        deleted.json(202);
        assert_shut(&s.t, &racer, round).await;
        for tokens in accepted(&answers, 200) {
            refresh(&tokens).await.assert_problem(401, "unauthenticated");
            let signed_in = s.as_bearer(&tokens);
            let write = signed_in.patch("/api/user", json!({"name": "X"}));
            write.await.assert_problem(401, "unauthenticated");
        }
        racers.push(racer);
    }
    assert_gone(&s.t, &racers).await;
}

#[tokio::test]
async fn a_sign_in_that_waits_for_a_second_factor_does_not_outlive_the_account() {
    const FACTOR: &str = "/api/user/security/2fa";
    let s = scene().await;
    let ann = racer(&s, 0).await;
    let setup = ann.client.post(FACTOR, json!({})).await.json(200);
    let secret = setup["secret"].as_str().unwrap().to_owned();
    let code = || shown(&secret, s.t.app.clock().now()).unwrap();
    let verify = format!("{FACTOR}/verify");
    ann.client
        .post(&verify, json!({ "code": code() }))
        .await
        .json(200);
    s.t.clock.advance(SignedDuration::from_secs(50));
    let waiting = s.whole("mode=token", &ann.email).await.json(200);
    delete(&ann.client).await.json(202);
    let body = json!({"mfaToken": waiting["mfaToken"], "code": code()});
    let finished = s.t.anonymous().post("/api/auth/2fa", body).await;
    finished.assert_problem(401, "unauthenticated");
    assert_shut(&s.t, &ann, 0).await;
    s.whole("mode=token", &ann.email)
        .await
        .assert_problem(409, "account_deleting");
    assert_gone(&s.t, &[ann]).await;
}
