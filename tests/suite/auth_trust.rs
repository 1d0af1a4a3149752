//! What a provider's word on an e-mail address is worth, and what happens when its owner comes.

use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::plans::Plan;
use camarad::domain::users::User;
use camarad::ids::UserId;
use camarad::store::{Update, keys};
use camarad_tests::app::{Client, OPERATOR, ORIGIN};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth::{Scene, audit_records, scene_of_strangers, scene_with_mail};
use crate::auth_link::link;
use crate::auth_magic_link::tokens;

/// Everything that somebody has in hand who is signed in.
struct Inside {
    user: UserId,
    client: Client,
    refresh: Value,
    program: Client,
}

impl Inside {
    async fn of(s: &Scene, signed_in: &Value) -> Self {
        let user = signed_in["user"]["id"].as_str().unwrap().parse().unwrap();
        Self {
            user,
            client: s.as_bearer(signed_in),
            refresh: json!({"refreshToken": signed_in["refreshToken"]}),
            program: s.t.api_key(user, &[KeyScope::UserRead], None).await,
        }
    }

    async fn assert_out(&self, s: &Scene) {
        let write = self.client.patch("/api/user", json!({"name": "X"})).await;
        write.assert_problem(401, "unauthenticated");
        let refresh =
            s.t.anonymous()
                .post("/api/auth/refresh", self.refresh.clone())
                .await;
        refresh.assert_problem(401, "unauthenticated");
        let program = self.program.get("/api/user").await;
        program.assert_problem(401, "unauthenticated");
    }
}

/// The account was made by a provider that was trusted then and is not now, or by one that somebody broke into.
async fn made_by_mallory(s: &Scene) -> Inside {
    let signed_in = s.tokens("victim@example.com").await;
    Inside::of(s, &signed_in).await
}

#[tokio::test]
async fn a_strangers_word_makes_no_account_and_its_owner_links_the_provider() {
    let s = scene_of_strangers().await;
    let before = s.t.snapshot().await.len();
    let refused = s.whole("mode=token", "ann@example.com").await;
    refused.assert_problem(409, "email_not_confirmed");
    let in_browser = s.whole("", "ann@example.com").await;
    assert_eq!(
        in_browser.header("location"),
        Some(format!("{ORIGIN}/?error=email_not_confirmed").as_str())
    );
    let failures = s.audits("platform").await;
    let reasons: Vec<_> = failures.iter().map(|(_, detail)| &detail["reason"]).collect();
    assert_eq!(reasons, ["email_not_confirmed", "email_not_confirmed"]);
    assert_eq!(
        s.t.snapshot().await.len(),
        before + 2,
        "the two records and nothing else"
    );

    let by_mail = tokens(&s.t, "ann@example.com").await;
    let ann = s.as_bearer(&by_mail);
    link(&s, &ann, "ann@example.com").await.assert_empty(204);
    let started = s.start_at("other", "mode=token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let again = s.back(&started, &callback).await.json(200);
    assert_eq!(again["user"]["id"], by_mail["user"]["id"]);
}

#[tokio::test]
async fn whoever_made_an_account_of_anothers_address_is_out_when_its_owner_comes_by_mail() {
    let s = scene_with_mail().await;
    let mallory = made_by_mallory(&s).await;
    // A way back in, under an address of Mallory's own.
    link(&s, &mallory.client, "mallory@evil.example")
        .await
        .assert_empty(204);

    let victim = tokens(&s.t, "victim@example.com").await;
    assert_eq!(victim["user"]["id"], mallory.user.to_string());
    mallory.assert_out(&s).await;
    let back = s.start_at("other", "mode=token").await;
    let callback = s.at_provider(&back, "mallory@evil.example").await;
    let other = s.back(&back, &callback).await.json(200);
    assert_ne!(
        other["user"]["id"], victim["user"]["id"],
        "an account of Mallory's own"
    );
    let actions = s.actions(&mallory.user.to_string()).await;
    for (action, times) in [
        ("session.revoked", 1),
        ("api_key.revoked", 1),
        ("identity.unlinked", 1),
    ] {
        assert_eq!(
            actions.iter().filter(|a| *a == action).count(),
            times,
            "{actions:?}"
        );
    }

    // Once: the next mailed link leaves everything as it is, and room for keys is as it should be.
    let own = Inside::of(&s, &victim).await;
    tokens(&s.t, "victim@example.com").await;
    own.client
        .patch("/api/user", json!({"name": "V"}))
        .await
        .json(200);
    own.program.get("/api/user").await.json(200);
    // The provider that proves the very same address still signs in.
    s.tokens("victim@example.com").await;
}

#[tokio::test]
async fn a_second_factor_comes_before_anything_ends() {
    use camarad::domain::auth::second_factor::shown;
    let s = scene_with_mail().await;
    let first = s.tokens("ann@example.com").await;
    let ann = s.as_bearer(&first);
    let setup = ann.post("/api/user/security/2fa", json!({})).await.json(200);
    let secret = setup["secret"].as_str().unwrap();
    let code = || shown(secret, s.t.app.clock().now()).unwrap();
    ann.post("/api/user/security/2fa/verify", json!({"code": code()}))
        .await
        .json(200);
    let waiting = tokens(&s.t, "ann@example.com").await;
    ann.patch("/api/user", json!({"name": "Ann"})).await.json(200);
    s.t.clock.advance(SignedDuration::from_secs(60));
    let body = json!({"mfaToken": waiting["mfaToken"], "code": code()});
    let signed_in = s.t.anonymous().post("/api/auth/2fa", body).await.json(200);
    ann.patch("/api/user", json!({"name": "X"}))
        .await
        .assert_problem(401, "unauthenticated");
    s.as_bearer(&signed_in)
        .patch("/api/user", json!({"name": "Ann"}))
        .await
        .json(200);
}

#[tokio::test]
async fn an_operators_address_counts_once_it_is_proven_well_enough() {
    let s = scene_with_mail().await;
    // The provider may make accounts here; it is not named for operators.
    let by_provider = s.as_bearer(&s.tokens(OPERATOR).await);
    by_provider
        .get("/api/audit-logs")
        .await
        .assert_problem(403, "forbidden");
    let scopes = json!({"name": "Meter", "scopes": ["usage:record"]});
    by_provider
        .post("/api/user/security/api-keys", scopes)
        .await
        .assert_problem(403, "forbidden");
    let by_mail = s.as_bearer(&tokens(&s.t, OPERATOR).await);
    by_mail.get("/api/audit-logs").await.json(200);
}

/// Sets what an account has that was made before addresses were held to what mail can reach.
async fn set_address(s: &Scene, user: UserId, email: &str) {
    let update = Update::of(keys::user(user)).set("email", email).unwrap();
    s.t.app.db().update(&update).await.unwrap();
}

#[tokio::test]
async fn where_mail_cannot_reach_the_address_it_is_no_way_in_and_the_last_other_one_stays() {
    let s = scene_with_mail().await;
    let signed_in = s.tokens("ann@example.com").await;
    let (ann, user) = (s.as_bearer(&signed_in), signed_in["user"]["id"].as_str().unwrap());
    set_address(&s, user.parse().unwrap(), "\u{fc}nal@example.com").await;
    let ways = ann.post("/api/auth/step-up", json!({})).await.json(200);
    assert_eq!(ways, json!({"ways": [{"id": "local", "name": "Local"}]}));
    ann.post("/api/auth/step-up", json!({"with": "email"}))
        .await
        .assert_invalid("with");
    let list = ann.get("/api/user/security/identities").await.json(200);
    let only = list["items"][0]["id"].as_str().unwrap();
    ann.delete(&format!("/api/user/security/identities/{only}"))
        .await
        .assert_problem(409, "last_identity");
    // Known by the identity, whatever becomes of the address.
    let again = s.tokens("ann@example.com").await;
    assert_eq!(again["user"]["id"], *user);
}

#[tokio::test]
async fn an_operator_ends_the_sessions_of_an_account_that_was_taken_over() {
    let s = scene_with_mail().await;
    let taken = s.t.sign_up("ann@example.com", Plan::Personal).await;
    let user = taken.user.unwrap();
    let other = s.t.sign_in(user).await;
    let path = format!("/api/users/{user}/sessions/revoke");
    taken
        .post(&path, json!({}))
        .await
        .assert_problem(403, "forbidden");
    let operator = s.t.sign_up(OPERATOR, Plan::Personal).await;
    let stale =
        s.t.stale(operator.user.unwrap(), SignedDuration::from_mins(16))
            .await;
    stale
        .post(&path, json!({}))
        .await
        .assert_problem(403, "step_up_required");
    for unknown in [UserId::new(s.t.app.clock()).to_string(), "nobody".into()] {
        operator
            .post(&format!("/api/users/{unknown}/sessions/revoke"), json!({}))
            .await
            .assert_problem(404, "not_found");
    }
    let sender = operator.once("k");
    for _ in 0..2 {
        assert_eq!(
            sender.post(&path, json!({})).await.json(200),
            json!({"revoked": 2})
        );
    }
    for session in [&taken, &other] {
        session
            .patch("/api/user", json!({"name": "X"}))
            .await
            .assert_problem(401, "unauthenticated");
    }
    operator.patch("/api/user", json!({"name": "Op"})).await.json(200);
    let of = |records: Vec<camarad::store::record::AuditRecord>| {
        let all = records
            .into_iter()
            .filter(|r| r.action.as_str() == "session.revoked");
        all.map(|r| (r.actor.person(), r.detail)).collect::<Vec<_>>()
    };
    let told = of(audit_records(&s.t, "platform").await);
    assert_eq!(
        told,
        [(
            operator.user,
            json!({"reason": "ended by an operator", "sessions": 2})
        )]
    );
    assert_eq!(of(audit_records(&s.t, &user.to_string()).await).len(), 2);
    let stored: User = s.t.app.db().get(&keys::user(user)).await.unwrap().unwrap();
    assert!(stored.is_staying());
}
