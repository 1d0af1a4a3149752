//! The handle against the real process.

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const CALLBACK: &str = "http://127.0.0.1:9000/api/auth/camarad-local/callback";
// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn authorize_url(peer: &OidcPeer, callback: &str) -> Result<Url, url::ParseError> {
    Url::parse_with_params(
        &format!("{}/auth", peer.issuer),
        [
            ("client_id", peer.client_id.as_str()),
            ("redirect_uri", callback),
            ("response_type", "code"),
            ("scope", "openid email profile"),
            ("state", "st-1"),
            ("nonce", "no-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ],
    )
}

/// The claims of the ID token that a sign-in leads to.
async fn claims(peer: &OidcPeer) -> Result<Value, Box<dyn std::error::Error>> {
    let callback = peer
        .login(authorize_url(peer, CALLBACK)?.as_str(), "ada@example.org")
        .await?;
    let answer: HashMap<String, String> = Url::parse(&callback)?.query_pairs().into_owned().collect();
    assert_eq!((answer["state"].as_str(), &answer["iss"]), ("st-1", &peer.issuer));
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &answer["code"]),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let request = peer.http.post(format!("{}/token", peer.issuer)).form(&form);
    let tokens: Value = request
        .basic_auth(&peer.client_id, Some(&peer.client_secret))
        .send()
        .await?
        .json()
        .await?;
    let middle = tokens["id_token"]
        .as_str()
        .and_then(|token| token.split('.').nth(1))
        .ok_or("no ID token")?;
    Ok(serde_json::from_slice(
        &BASE64URL_NOPAD.decode(middle.as_bytes())?,
    )?)
}

#[tokio::test]
async fn a_person_signs_in_and_tampering_lasts_for_one_token() -> Outcome {
    let peer = OidcPeer::start(&[CALLBACK]).await?;
    let honest = claims(&peer).await?;
    assert_eq!(
        (&honest["email"], &honest["nonce"]),
        (&json!("ada@example.org"), &json!("no-1"))
    );
    peer.tamper(Tamper::WrongAud).await?;
    assert_eq!(claims(&peer).await?["aud"], "another-client");
    assert_eq!(claims(&peer).await?["aud"], peer.client_id);
    for how in Tamper::ALL {
        peer.tamper(how).await?;
    }
    assert_ne!(peer.rotate_keys(false).await?, peer.rotate_keys(true).await?);
    Ok(())
}

#[tokio::test]
async fn what_the_provider_refuses_is_told() -> Outcome {
    let peer = OidcPeer::start_signing(&[CALLBACK], "ES256").await?;
    let elsewhere = authorize_url(&peer, "http://127.0.0.1:9000/elsewhere")?;
    let refused = peer.login(elsewhere.as_str(), "ada@example.org").await;
    assert!(
        matches!(&refused, Err(PeerError::Protocol(text)) if text.contains("redirect_uri")),
        "{refused:?}"
    );
    let not_an_address = peer.login(authorize_url(&peer, CALLBACK)?.as_str(), "ada").await;
    assert!(
        matches!(&not_an_address, Err(PeerError::Protocol(text)) if text.contains("400")),
        "{not_an_address:?}"
    );

    let (url, http) = (peer.issuer.clone(), client()?);
    drop(peer);
    assert!(
        http.get(url).send().await.is_err(),
        "the process outlived its handle"
    );
    assert!(OidcPeer::start(&[]).await.is_err());
    Ok(())
}
