//! Guessing at the second factor.

use jiff::SignedDuration;
use serde_json::json;

use crate::second_factor::Ann;

#[tokio::test]
async fn whoever_guesses_waits_longer_each_time_and_the_owner_hears_of_it_and_gets_in() {
    let a = Ann::new().await;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let token = a.begun().await;
        for _ in 0..5 {
            a.finish(&token, ("code", &a.wrong()))
                .await
                .assert_invalid("code");
        }
        let refused = a.finish(&token, ("code", &a.code())).await;
        refused.assert_problem(429, "rate_limited");
        let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
        waits.push((wait + 59) / 60);
        // Once a round, without a link that somebody else could have sent.
        let again = a.s.t.deliver(&a.s.t.mail_queue().await).await;
        assert!(again.is_empty(), "{again:?}");
        let mails = a.s.t.mails().await;
        assert_eq!(mails.len(), waits.len());
        let mail = mails.last().unwrap();
        assert_eq!(
            (&mail["To"], &mail["Subject"]),
            (
                &json!(["ann@example.com"]),
                &json!("Somebody is guessing your sign-in code")
            )
        );
        assert!(!mail["BodyText"].as_str().unwrap().contains("http"), "{mail}");
        // Whoever has no first factor moves nothing.
        let nobody = a
            .finish(&format!("{}x", &token[..token.len() - 1]), ("code", &a.wrong()))
            .await;
        nobody.assert_problem(401, "unauthenticated");
        // Its owner has a session that lives.
        let body = json!({"code": a.code()});
        a.s.t
            .sign_in(a.user())
            .await
            .post("/api/auth/step-up", body)
            .await
            .json(200);
        a.s.t.clock.advance(SignedDuration::from_secs(wait + 31));
    }
    assert_eq!(waits, [5, 10, 20]);
    let token = a.begun().await;
    for _ in 0..5 {
        a.finish(&token, ("code", &a.wrong()))
            .await
            .assert_invalid("code");
    }
    // Or a recovery code, and what was guessed before is forgotten.
    a.finish(&a.begun().await, ("recoveryCode", &a.recovery[0]))
        .await
        .json(200);
    a.s.t.clock.advance(SignedDuration::from_secs(31));
    a.finish(&a.begun().await, ("code", &a.code())).await.json(200);
}

#[tokio::test]
async fn a_recovery_code_has_112_bits() {
    let a = Ann::new().await;
    let plain: std::collections::BTreeSet<String> =
        a.recovery.iter().map(|code| code.replace('-', "")).collect();
    assert_eq!(plain.len(), 10);
    // 14 bytes, five bits to a character.
    assert!(plain.iter().all(|code| code.len() == 23), "{plain:?}");
    assert!(a.recovery.iter().all(|code| code.len() <= 32));
}
