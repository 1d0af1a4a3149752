//! A browser without script, as far as a sign-in needs one.

use std::collections::BTreeMap;

use reqwest::{Response, header};
use url::Url;

use super::{OidcPeer, PeerError};

/// More than any sign-in takes; a provider that redirects in circles ends here.
const MAX_HOPS: usize = 10;

/// Where following redirects ended.
pub(super) enum Place {
    /// A page of the provider that waits for the person.
    Page(String),
    /// One of the client's redirect URIs, with its parameters.
    Callback(String),
}

pub(super) struct Browser<'a> {
    peer: &'a OidcPeer,
    cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub(super) fn new(peer: &'a OidcPeer) -> Self {
        Self {
            peer,
            cookies: BTreeMap::new(),
        }
    }

    pub(super) async fn open(&mut self, url: &str) -> Result<Place, PeerError> {
        let response = self.send(self.peer.http.get(url)).await?;
        self.follow(url.to_owned(), response).await
    }

    pub(super) async fn submit(&mut self, page: &str, email: &str) -> Result<Place, PeerError> {
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
            if !target.as_str().starts_with(&format!("{}/", self.peer.issuer)) {
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
        let response = request.header(header::COOKIE, jar.join("; ")).send().await?;
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
    Err(PeerError::Protocol(format!("{at} answers {status}: {text}")))
}
