//! GitHub, as far as a sign-in sees it: a Node process (`tests/peers/github`, whose README says how strict it is).

use reqwest::{Client, header};
use url::Url;

use super::PeerError;
use super::oidc::client;
use super::oidc::process::{Process, listening_on};

const CLIENT_ID: &str = "camarad";
const CLIENT_SECRET: &str = "local-secret";

/// A running GitHub with one OAuth app. Its process ends when this is dropped, and with the test process in any case.
#[derive(Debug)]
pub struct GithubPeer {
    /// The site, `http://127.0.0.1:PORT`.
    pub site: String,
    /// The REST API.
    pub api: String,
    /// The app that is registered.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    http: Client,
    _process: Process,
}

impl GithubPeer {
    /// On a free port. The redirect URIs are matched exactly.
    pub async fn start(redirect_uris: &[&str]) -> Result<Self, PeerError> {
        let mut arguments = vec![
            "--port",
            "0",
            "--client-id",
            CLIENT_ID,
            "--client-secret",
            CLIENT_SECRET,
        ];
        arguments.extend(redirect_uris.iter().flat_map(|uri| ["--redirect-uri", uri]));
        let (process, output) = Process::spawn("github", &arguments)?;
        let site = listening_on(output).await?;
        Ok(Self {
            api: format!("{site}/api/v3"),
            site,
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            http: client()?,
            _process: process,
        })
    }

    /// Signs a person in as a browser would, and gives the callback's full URL without opening it.
    pub async fn login(&self, authorize_url: &str, email: &str) -> Result<String, PeerError> {
        self.decide(authorize_url, &[("email", email)]).await
    }

    /// The person says no; the callback's full URL.
    pub async fn cancel(&self, authorize_url: &str) -> Result<String, PeerError> {
        self.decide(authorize_url, &[("cancel", "1")]).await
    }

    /// Gives an account another login.
    pub async fn rename(&self, email: &str, login: &str) -> Result<(), PeerError> {
        let url = format!("{}/_peer/rename", self.site);
        let order = [("email", email), ("login", login)];
        self.http
            .post(url)
            .form(&order)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn decide(&self, authorize_url: &str, form: &[(&str, &str)]) -> Result<String, PeerError> {
        let page = self.http.get(authorize_url).send().await?;
        if !page.status().is_success() {
            let (status, text) = (page.status(), page.text().await?);
            return Err(PeerError::Protocol(format!(
                "{authorize_url} answers {status}: {text}"
            )));
        }
        let answer = self.http.post(authorize_url).form(form).send().await?;
        let location = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let callback =
            Url::parse(location).map_err(|e| PeerError::Protocol(format!("sent to \"{location}\": {e}")))?;
        Ok(callback.into())
    }
}
