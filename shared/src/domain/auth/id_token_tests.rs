use jsonwebtoken::{EncodingKey, Header as JwtHeader, jwk};
use serde_json::{Value, json};

use super::*;
use crate::random;

const ISSUER: &str = "https://id.example";
const CLIENT: &str = "camarad";
const NOW: i64 = 1_700_000_000;

struct Signer {
    algorithm: Algorithm,
    private: EncodingKey,
    public: Jwk,
}

/// RFC 8410's and RFC 5915's fixed beginnings of a PKCS#8 private key, before its 32 bytes.
const ED25519: &str = "302e020100300506032b657004220420";
const P256: &str = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";

fn signer(algorithm: Algorithm) -> Signer {
    let prefix = if algorithm == Algorithm::ES256 {
        P256
    } else {
        ED25519
    };
    let mut der = data_encoding::HEXLOWER.decode(prefix.as_bytes()).unwrap();
    der.extend(random::bytes::<32>());
    let private = if algorithm == Algorithm::ES256 {
        EncodingKey::from_ec_der(&der)
    } else {
        EncodingKey::from_ed_der(&der)
    };
    let mut public = jwk::Jwk::from_encoding_key(&private, algorithm).unwrap();
    public.common.key_id = Some("k1".into());
    let public = serde_json::from_value(serde_json::to_value(public).unwrap()).unwrap();
    Signer {
        algorithm,
        private,
        public,
    }
}

fn good() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "108", "exp": NOW + 3600, "iat": NOW, "nonce": "n1",
        "email": "Ann@Example.com", "email_verified": true, "name": "Ann",
    })
}

fn with(changes: Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

impl Signer {
    fn token(&self, claims: &Value) -> String {
        let mut header = JwtHeader::new(self.algorithm);
        header.kid = Some("k1".into());
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

fn run(token: &str, keys: &[Jwk]) -> Result<Identity, Flaw> {
    run_asked(token, keys, None)
}

fn run_asked(token: &str, keys: &[Jwk], asked_since: Option<i64>) -> Result<Identity, Flaw> {
    let expected = Expected {
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: "n1",
        access_token: "at-1",
        now: Timestamp::from_second(NOW).unwrap(),
        asked_since: asked_since.map(|at| Timestamp::from_second(at).unwrap()),
    };
    check(token, &Header::of(token)?, keys, expected)
}

fn flaw(signer: &Signer, changes: Value) -> Option<Flaw> {
    run(
        &signer.token(&with(changes)),
        std::slice::from_ref(&signer.public),
    )
    .err()
}

#[test]
fn a_good_token_is_believed_under_each_algorithm() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let signer = signer(algorithm);
        let identity = run(&signer.token(&good()), std::slice::from_ref(&signer.public)).unwrap();
        assert_eq!(identity.sub, "108");
        assert_eq!(identity.verified_email().as_deref(), Ok("ann@example.com"));
    }
}

#[test]
fn whoever_was_to_be_asked_again_was_asked_since_within_the_leeway() {
    let signer = signer(Algorithm::EdDSA);
    let keys = std::slice::from_ref(&signer.public);
    let since = NOW - 120;
    let told = |auth_time: Value, since: Option<i64>| {
        let token = signer.token(&with(json!({ "auth_time": auth_time })));
        run_asked(&token, keys, since).err()
    };
    for good in [since, since - 60, NOW, NOW + 60] {
        assert_eq!(told(json!(good), Some(since)), None, "{good}");
    }
    for bad in [json!(since - 61), json!(0), json!(NOW + 61), Value::Null] {
        assert_eq!(told(bad.clone(), Some(since)), Some(Flaw::AuthTime), "{bad}");
    }
    assert_eq!(told(json!("now"), Some(since)), Some(Flaw::Malformed));
    // Who did not ask is not told, and does not mind.
    assert_eq!(told(json!(0), None), None);
}

#[test]
fn each_wrong_claim_is_found() {
    let signer = signer(Algorithm::EdDSA);
    let cases = [
        (json!({"iss": "https://id.example/"}), Flaw::Issuer),
        (json!({"iss": null}), Flaw::Malformed),
        (json!({"aud": "another"}), Flaw::Audience),
        (json!({"aud": []}), Flaw::Audience),
        (json!({"aud": ["another", CLIENT]}), Flaw::Audience),
        (
            json!({"aud": [CLIENT, "another"], "azp": "another"}),
            Flaw::Audience,
        ),
        (json!({"azp": "another"}), Flaw::Audience),
        (json!({"exp": NOW - 60}), Flaw::Expired),
        (json!({"exp": null}), Flaw::Malformed),
        (json!({"iat": NOW + 61}), Flaw::NotYetValid),
        (json!({"iat": NOW - 661}), Flaw::TooOld),
        (json!({"nbf": NOW + 61}), Flaw::NotYetValid),
        (json!({"nonce": "n2"}), Flaw::Nonce),
        (json!({"nonce": null}), Flaw::Nonce),
        (
            json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
            Flaw::AccessTokenHash,
        ),
        (json!({"sub": ""}), Flaw::Subject),
        (json!({"sub": "a".repeat(256)}), Flaw::Subject),
        (json!({"sub": "ü"}), Flaw::Subject),
    ];
    for (changes, expected) in cases {
        assert_eq!(flaw(&signer, changes.clone()), Some(expected), "{changes}");
    }
}

#[test]
fn what_is_within_the_rules_is_not_a_flaw() {
    let signer = signer(Algorithm::ES256);
    let sha256 = BASE64URL_NOPAD.encode(&Sha256::digest("at-1")[..16]);
    for changes in [
        json!({"aud": [CLIENT]}),
        json!({"aud": [CLIENT, "another"], "azp": CLIENT}),
        json!({"exp": NOW - 59}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"iat": NOW + 60, "nbf": NOW + 60}),
        json!({"at_hash": sha256}),
        json!({"picture": "x", "hd": {"odd": [1]}}),
    ] {
        assert_eq!(flaw(&signer, changes.clone()), None, "{changes}");
    }
}

#[test]
fn an_ed25519_token_hashes_its_access_token_with_sha_512() {
    let signer = signer(Algorithm::EdDSA);
    let sha512 = BASE64URL_NOPAD.encode(&Sha512::digest("at-1")[..32]);
    let sha256 = BASE64URL_NOPAD.encode(&Sha256::digest("at-1")[..16]);
    assert_eq!(flaw(&signer, json!({"at_hash": sha512})), None);
    assert_eq!(
        flaw(&signer, json!({"at_hash": sha256})),
        Some(Flaw::AccessTokenHash)
    );
}

fn encoded(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn a_token_without_signature_is_refused() {
    let signer = signer(Algorithm::EdDSA);
    let keys = std::slice::from_ref(&signer.public);
    for alg in ["none", "None", "NONE", ""] {
        let token = encoded(&json!({"alg": alg, "kid": "k1"}), &good(), "");
        assert_eq!(run(&token, keys), Err(Flaw::Malformed), "{alg}");
    }
    let stripped = encoded(&json!({"alg": "EdDSA", "kid": "k1"}), &good(), "");
    assert_eq!(run(&stripped, keys), Err(Flaw::Signature));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let signer = signer(Algorithm::EdDSA);
    let secret = BASE64URL_NOPAD
        .decode(signer.public.x.as_deref().unwrap().as_bytes())
        .unwrap();
    let mut header = JwtHeader::new(Algorithm::HS256);
    header.kid = Some("k1".into());
    let token = jsonwebtoken::encode(&header, &good(), &EncodingKey::from_secret(&secret)).unwrap();
    assert_eq!(
        run(&token, std::slice::from_ref(&signer.public)),
        Err(Flaw::Algorithm)
    );
}

#[test]
fn a_key_verifies_only_what_its_type_and_purpose_say() {
    let (ed, ec) = (signer(Algorithm::EdDSA), signer(Algorithm::ES256));
    assert_eq!(
        run(&ed.token(&good()), std::slice::from_ref(&ec.public)),
        Err(Flaw::Key)
    );
    assert_eq!(
        run(&ec.token(&good()), std::slice::from_ref(&ed.public)),
        Err(Flaw::Key)
    );
    let encrypts = Jwk {
        purpose: Some("enc".into()),
        ..ed.public.clone()
    };
    assert_eq!(run(&ed.token(&good()), &[encrypts]), Err(Flaw::Key));
    let for_another = Jwk {
        alg: Some("Ed448".into()),
        ..ed.public.clone()
    };
    assert_eq!(run(&ed.token(&good()), &[for_another]), Err(Flaw::Key));
    let symmetric = Jwk {
        kty: "oct".into(),
        ..ed.public.clone()
    };
    assert_eq!(run(&ed.token(&good()), &[symmetric]), Err(Flaw::Key));
}

/// A token with this header, whatever it says, signed by a published key.
fn under(header: &Value, signer: &Signer) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(&good()));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &signer.private, signer.algorithm).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let (ours, theirs) = (signer(Algorithm::ES256), signer(Algorithm::ES256));
    let published = std::slice::from_ref(&ours.public);
    let own = jwk::Jwk::from_encoding_key(&theirs.private, Algorithm::ES256).unwrap();
    for (name, value) in [
        ("jwk", serde_json::to_value(own).unwrap()),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = json!({"alg": "ES256", "kid": "k1", name: value});
        // Signed by the one that it brings, and even by the published one.
        for signer in [&theirs, &ours] {
            assert_eq!(run(&under(&header, signer), published), Err(Flaw::Key), "{name}");
        }
    }
}

#[test]
fn of_two_keys_under_one_id_neither_is_believed() {
    let (one, two) = (signer(Algorithm::ES256), signer(Algorithm::ES256));
    let other_type = signer(Algorithm::EdDSA);
    for token in [one.token(&good()), two.token(&good())] {
        let twins = [one.public.clone(), two.public.clone()];
        assert_eq!(run(&token, &twins), Err(Flaw::Key));
    }
    // RFC 7517 §4.5: keys of different types may share an id.
    assert!(run(&one.token(&good()), &[one.public.clone(), other_type.public]).is_ok());
}

#[test]
fn a_header_that_says_something_twice_is_refused() {
    let signer = signer(Algorithm::EdDSA);
    for header in [
        r#"{"alg":"EdDSA","kid":"k1","kid":"k1"}"#,
        r#"{"alg":"none","kid":"k1","alg":"EdDSA"}"#,
    ] {
        let message = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header.as_bytes()),
            BASE64URL_NOPAD.encode(good().to_string().as_bytes())
        );
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &signer.private, signer.algorithm).unwrap();
        let token = format!("{message}.{signature}");
        assert_eq!(
            run(&token, std::slice::from_ref(&signer.public)),
            Err(Flaw::Malformed),
            "{header}"
        );
    }
}

#[test]
fn a_short_rsa_key_is_no_key() {
    let header = Header {
        algorithm: Algorithm::RS256,
        kid: "k1".into(),
    };
    let key = |bytes: usize| Jwk {
        kty: "RSA".into(),
        kid: None,
        alg: None,
        purpose: None,
        crv: None,
        n: Some(BASE64URL_NOPAD.encode(&vec![0xff; bytes])),
        e: Some("AQAB".into()),
        x: None,
        y: None,
    };
    assert!(header.decoding_key(&key(255)).is_none());
    assert!(header.decoding_key(&key(256)).is_some());
}

#[test]
fn extensions_that_must_be_understood_are_refused() {
    let signer = signer(Algorithm::EdDSA);
    for more in [
        json!({"crit": ["b64"], "b64": true}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"b64": false}),
        json!({"b64": true}),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "k1"});
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        let token = under(&header, &signer);
        assert_eq!(
            run(&token, std::slice::from_ref(&signer.public)),
            Err(Flaw::Malformed),
            "{more}"
        );
    }
    // The same way of signing, without an extension.
    let token = under(&json!({"alg": "EdDSA", "kid": "k1"}), &signer);
    assert!(run(&token, std::slice::from_ref(&signer.public)).is_ok());
}

#[test]
fn each_algorithm_off_the_list_is_refused() {
    let signer = signer(Algorithm::EdDSA);
    for alg in ["HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES384"] {
        let token = encoded(&json!({"alg": alg, "kid": "k1"}), &good(), "AAAA");
        let refused = run(&token, std::slice::from_ref(&signer.public));
        assert_eq!(refused, Err(Flaw::Algorithm), "{alg}");
    }
}

#[test]
fn userinfo_adds_what_the_token_does_not_say_and_changes_nothing_else() {
    let identity = |value: Value| serde_json::from_value::<Identity>(value).unwrap();
    let told = identity(json!({"sub": "108", "email": "u@example.com", "email_verified": true, "name": "U"}));
    let silent = identity(json!({"sub": "108", "email_verified": true}));
    let full = silent.clone().completed_by(told.clone());
    assert_eq!(full.verified_email().as_deref(), Ok("u@example.com"));
    assert_eq!(full.name.as_deref(), Some("U"));
    // A flag without an address vouches for no other address.
    let unverified = identity(json!({"sub": "108", "email": "u@example.com"}));
    assert!(silent.completed_by(unverified).verified_email().is_err());
    let own = identity(json!({"sub": "108", "email": "t@example.com", "email_verified": true, "name": "T"}));
    assert_eq!(own.clone().completed_by(told), own);
}

#[test]
fn a_token_cut_or_changed_anywhere_is_refused() {
    let signer = signer(Algorithm::EdDSA);
    let keys = std::slice::from_ref(&signer.public);
    let token = signer.token(&good());
    for at in 0..token.len() {
        assert!(run(&token[..at], keys).is_err(), "cut at {at}");
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert!(run(&changed, keys).is_err(), "changed at {at}");
    }
}

#[test]
fn only_a_verified_plausible_address_counts() {
    let email = |changes: Value| {
        let identity: Identity = serde_json::from_value(with(changes)).unwrap();
        identity.verified_email()
    };
    assert_eq!(
        email(json!({"email_verified": "true"})).as_deref(),
        Ok("ann@example.com")
    );
    for changes in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email_verified": 1}),
        json!({"email_verified": "false"}),
        json!({"email": null}),
        json!({"email": "ann"}),
        json!({"email": "ünal@example.com"}),
        json!({"email": "\"ann smith\"@example.com"}),
        json!({"email": "@example.com"}),
        json!({"email": "a b@example.com"}),
        json!({"email": format!("{}@example.com", "a".repeat(250))}),
    ] {
        assert!(email(changes.clone()).is_err(), "{changes}");
    }
}
