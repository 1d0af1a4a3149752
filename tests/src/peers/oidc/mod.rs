//! An OpenID provider: a certified one, run as a Node process (`tests/peers/oidc`, whose README says how strict it is).

mod browser;
pub(super) mod process;
#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{Client, redirect::Policy};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::PeerError;
use browser::{Browser, Place};
use process::{Process, listening_on};

const CLIENT_ID: &str = "camarad";
const CLIENT_SECRET: &str = "local-secret";

/// A running provider with one client. Its process ends when this is dropped, and with the test process in any case.
#[derive(Debug)]
pub struct OidcPeer {
    /// The issuer, `http://127.0.0.1:PORT`: what discovery starts from and ID tokens carry.
    pub issuer: String,
    /// The client that is registered.
    pub client_id: String,
    /// Its secret, by HTTP Basic or in the form.
    pub client_secret: String,
    redirect_uris: Vec<String>,
    http: Client,
    process: Process,
}

/// The one thing that is wrong with the next ID token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tamper {
    /// Signed by a key that is not published, under the kid of one that is.
    BadSignature,
    /// For another client.
    WrongAud,
    /// By another issuer.
    WrongIss,
    /// For another request.
    WrongNonce,
    /// Ended an hour ago.
    Expired,
    /// Of another access token.
    BadAtHash,
    /// The person was asked an hour ago.
    OldAuthTime,
    /// Nothing of when the person was asked.
    WithoutAuthTime,
    /// Signed by a key that is not published, under its own kid.
    UnknownKid,
    /// Unsigned, and says so.
    AlgNone,
}

/// What the next answer of the userinfo endpoint says that the provider knows better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Userinfo {
    /// That it is about somebody else.
    WrongSub,
    /// Nothing of whom it is about.
    WithoutSub,
    /// No address.
    WithoutEmail,
    /// That the address is not verified.
    Unverified,
}

impl Tamper {
    /// Each that is wrong at any sign-in, for tests that walk through.
    pub const ALL: [Self; 8] = [
        Self::BadSignature,
        Self::WrongAud,
        Self::WrongIss,
        Self::WrongNonce,
        Self::Expired,
        Self::BadAtHash,
        Self::UnknownKid,
        Self::AlgNone,
    ];
}

impl OidcPeer {
    /// On a free port, signing with RS256. The redirect URIs are matched exactly.
    pub async fn start(redirect_uris: &[&str]) -> Result<Self, PeerError> {
        Self::start_signing(redirect_uris, "RS256").await
    }

    /// As [`Self::start`], with `RS256` or `ES256`.
    pub async fn start_signing(redirect_uris: &[&str], alg: &str) -> Result<Self, PeerError> {
        let mut arguments = vec![
            "--port",
            "0",
            "--client-id",
            CLIENT_ID,
            "--client-secret",
            CLIENT_SECRET,
            "--alg",
            alg,
        ];
        arguments.extend(redirect_uris.iter().flat_map(|uri| ["--redirect-uri", uri]));
        let (process, output) = Process::spawn("oidc", &arguments)?;
        Ok(Self {
            issuer: listening_on(output).await?,
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
            http: client()?,
            process,
        })
    }

    /// Signs a person in as a browser would, with a cookie jar of its own: opens the provider's `authorize_url`, types the
    /// address, and gives the callback's full URL (with `code`, `state`, `iss`, or with `error`) without opening it.
    pub async fn login(&self, authorize_url: &str, email: &str) -> Result<String, PeerError> {
        let mut browser = Browser::new(self);
        let page = match browser.open(authorize_url).await? {
            Place::Callback(url) => return Ok(url),
            Place::Page(url) => url,
        };
        match browser.submit(&page, email).await? {
            Place::Callback(url) => Ok(url),
            Place::Page(url) => Err(PeerError::Protocol(format!(
                "the sign-in of {email} got stuck at {url}"
            ))),
        }
    }

    /// Makes the next successful token response carry a wrong ID token.
    pub async fn tamper(&self, how: Tamper) -> Result<(), PeerError> {
        self.control("tamper", json!({"idToken": how})).await.map(drop)
    }

    /// Makes the next successful token response carry an ID token without an address; userinfo then tells it, rightly or as
    /// ordered.
    pub async fn leave_out_email(&self, userinfo: Option<Userinfo>) -> Result<(), PeerError> {
        let order = json!({"idToken": "without-email", "userinfo": userinfo});
        self.control("tamper", order).await.map(drop)
    }

    /// How often a path was asked for.
    pub async fn asked(&self, path: &str) -> Result<u64, PeerError> {
        let url = format!("{}/_peer/asked", self.issuer);
        let all: Value = self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        Ok(all[path].as_u64().unwrap_or(0))
    }

    /// New keys sign from now on; the ones before stay published until the next rotation unless `forget_old`. Gives the kid
    /// that signs.
    pub async fn rotate_keys(&self, forget_old: bool) -> Result<String, PeerError> {
        let answer = self
            .control("rotate-keys", json!({"forgetOld": forget_old}))
            .await?;
        let kid = answer["signing"].as_str().map(str::to_owned);
        kid.ok_or_else(|| PeerError::Protocol(format!("rotate-keys answered {answer}")))
    }

    /// The provider's process, for tests about what outlives what.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    async fn control(&self, path: &str, body: Value) -> Result<Value, PeerError> {
        let url = format!("{}/_peer/{path}", self.issuer);
        let answer = self.http.post(url).json(&body).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    fn is_callback(&self, url: &Url) -> bool {
        let mut bare = url.clone();
        bare.set_query(None);
        self.redirect_uris
            .iter()
            .any(|uri| uri == bare.as_str() || url.as_str().starts_with(&format!("{uri}?")))
    }
}

/// Follows nothing by itself: the callback is for the test to open.
pub(super) fn client() -> Result<Client, PeerError> {
    // An error only says that somebody installed one before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(Client::builder()
        .redirect(Policy::none())
        .timeout(Duration::from_secs(10))
        .build()?)
}
