//! An OpenID provider: a certified one, run as a Node process (`tests/peers/oidc`, whose README says how strict it is).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Response, header, redirect::Policy};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use url::Url;

use super::PeerError;

/// Node loads, and two key pairs are made: a second or two on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// More than any sign-in takes; a provider that redirects in circles ends here.
const MAX_HOPS: usize = 10;

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
    /// Unsigned, and says so.
    AlgNone,
}

impl Tamper {
    /// Each of them, for tests that walk through.
    pub const ALL: [Self; 7] = [
        Self::BadSignature,
        Self::WrongAud,
        Self::WrongIss,
        Self::WrongNonce,
        Self::Expired,
        Self::BadAtHash,
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
        let (process, output) = Process::spawn(&arguments)?;
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
        let mut browser = Browser {
            peer: self,
            cookies: BTreeMap::new(),
        };
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
        self.control("tamper", json!({"idToken": how}))
            .await
            .map(drop)
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
        self.process.child.id()
    }

    async fn control(&self, path: &str, body: Value) -> Result<Value, PeerError> {
        let url = format!("{}/_peer/{path}", self.issuer);
        let answer = self
            .http
            .post(url)
            .json(&body)
            .send()
            .await?
            .error_for_status()?;
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

/// Where following redirects ended.
enum Place {
    /// A page of the provider that waits for the person.
    Page(String),
    /// One of the client's redirect URIs, with its parameters.
    Callback(String),
}

struct Browser<'a> {
    peer: &'a OidcPeer,
    cookies: BTreeMap<String, String>,
}

impl Browser<'_> {
    async fn open(&mut self, url: &str) -> Result<Place, PeerError> {
        let response = self.send(self.peer.http.get(url)).await?;
        self.follow(url.to_owned(), response).await
    }

    async fn submit(&mut self, page: &str, email: &str) -> Result<Place, PeerError> {
        let response = self
            .send(self.peer.http.post(page).form(&[("email", email)]))
            .await?;
        self.follow(page.to_owned(), response).await
    }

    async fn follow(&mut self, mut at: String, mut response: Response) -> Result<Place, PeerError> {
        for _ in 0..MAX_HOPS {
            let Some(target) = redirect_target(&at, &response)? else {
                return page(at, response).await;
            };
            if self.peer.is_callback(&target) {
                return Ok(Place::Callback(target.into()));
            }
            if !target
                .as_str()
                .starts_with(&format!("{}/", self.peer.issuer))
            {
                return Err(PeerError::Protocol(format!(
                    "sent to {target}, which is no redirect URI of the client"
                )));
            }
            at = target.into();
            response = self.send(self.peer.http.get(&at)).await?;
        }
        Err(PeerError::Protocol(format!(
            "still redirected after {MAX_HOPS} steps, at {at}"
        )))
    }

    /// Cookies by hand: one host and one sign-in, so names are enough, whatever their paths.
    async fn send(&mut self, request: reqwest::RequestBuilder) -> Result<Response, PeerError> {
        let jar: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let response = request
            .header(header::COOKIE, jar.join("; "))
            .send()
            .await?;
        for line in response.headers().get_all(header::SET_COOKIE) {
            let pair = line
                .to_str()
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default();
            match pair.split_once('=') {
                Some((name, "")) => self.cookies.remove(name),
                Some((name, value)) => self.cookies.insert(name.to_owned(), value.to_owned()),
                None => None,
            };
        }
        Ok(response)
    }
}

fn redirect_target(at: &str, response: &Response) -> Result<Option<Url>, PeerError> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let target = Url::parse(at).and_then(|base| base.join(location));
    target
        .map(Some)
        .map_err(|error| PeerError::Protocol(format!("{at} redirects to \"{location}\": {error}")))
}

async fn page(at: String, response: Response) -> Result<Place, PeerError> {
    let status = response.status();
    if status.is_success() {
        return Ok(Place::Page(at));
    }
    let text = response.text().await?;
    Err(PeerError::Protocol(format!(
        "{at} answers {status}: {text}"
    )))
}

/// Follows nothing by itself: the callback is for the test to open.
fn client() -> Result<Client, PeerError> {
    // An error only says that somebody installed one before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(Client::builder()
        .redirect(Policy::none())
        .timeout(Duration::from_secs(10))
        .build()?)
}

#[derive(Debug)]
struct Process {
    /// Its standard input is a pipe that closes with this process, which ends it even if no destructor runs.
    child: Child,
}

impl Process {
    fn spawn(arguments: &[&str]) -> Result<(Self, ChildStdout), PeerError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc");
        if !folder.join("node_modules").is_dir() {
            return Err(PeerError::Protocol(format!(
                "the OIDC peer's packages are not installed in {}: run `make setup` (or `npm ci` there)",
                folder.display()
            )));
        }
        let failed = |source| PeerError::Start {
            what: "the OIDC peer needs Node 20 or newer as `node`".into(),
            source,
        };
        let mut child = Command::new("node")
            .arg(folder.join("server.mjs"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| failed(std::io::Error::other("no pipe to its output")))?;
        Ok((Self { child }, output))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already; waiting leaves no zombie behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the output until the peer says where it listens. What it says later is read too, and dropped, so that a full pipe
/// cannot stop it.
async fn listening_on(output: ChildStdout) -> Result<String, PeerError> {
    let (found, address) = oneshot::channel();
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("listening on ")
                && let Some(found) = found.take()
            {
                let _ = found.send(url.to_owned());
            }
        }
    });
    match tokio::time::timeout(START_PATIENCE, address).await {
        Ok(Ok(url)) => Ok(url),
        Ok(Err(_)) => Err(PeerError::Protocol(
            "the OIDC peer ended at its start; its message is on standard error".into(),
        )),
        Err(_) => Err(PeerError::Protocol(format!(
            "the OIDC peer did not listen within {START_PATIENCE:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
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
        let answer: HashMap<String, String> =
            Url::parse(&callback)?.query_pairs().into_owned().collect();
        assert_eq!(
            (answer["state"].as_str(), &answer["iss"]),
            ("st-1", &peer.issuer)
        );
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
        assert_ne!(
            peer.rotate_keys(false).await?,
            peer.rotate_keys(true).await?
        );
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
        let not_an_address = peer
            .login(authorize_url(&peer, CALLBACK)?.as_str(), "ada")
            .await;
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
}
