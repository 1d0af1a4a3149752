//! The authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636), with and without OpenID Connect on top.

use std::pin::Pin;

use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::Oidc;
use super::wire::{Failure, send, unreachable};
use crate::config::ProviderConfig;
use crate::error::{Error, Result};

/// Where and how a provider takes part in the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    pub(super) authorization: String,
    pub(super) token: String,
    /// Whether the client secret goes into the form instead of the header.
    pub(super) secret_in_body: bool,
    pub(super) scopes: &'static [&'static str],
}

/// The secrets of one attempt to sign in.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Comes back with the answer.
    pub state: &'a str,
    /// Comes back inside the ID token.
    pub nonce: &'a str,
    /// The PKCE verifier, 43 to 128 characters; only its SHA-256 leaves the house now.
    pub verifier: &'a str,
    /// Where the provider sends the browser back to.
    pub redirect_uri: &'a str,
    /// Whether the provider is to ask the person who they are, even if they are signed in there, and to say when it did
    /// (OpenID Connect Core 1.0 §3.1.2.1: `prompt=login`, `max_age=0`).
    pub ask_again: bool,
}

/// What came of a code.
#[derive(Debug)]
pub enum Exchanged {
    /// The provider took it.
    Tokens {
        /// Still to be checked; there is none in plain OAuth.
        id_token: Option<String>,
        /// For the ID token's `at_hash`, and to ask the provider's API with.
        access_token: SecretString,
    },
    /// The provider refused it, with RFC 6749's error code.
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct IdTokenField {
    id_token: Option<String>,
}

impl oauth2::ExtraTokenFields for IdTokenField {}

type OidcClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

fn client(provider: &ProviderConfig, redirect_uri: &str) -> Result<OidcClient> {
    let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(Error::internal)?;
    Ok(Client::new(ClientId::new(provider.client_id.clone())).set_redirect_uri(redirect))
}

/// Where the person goes to sign in.
///
/// # Errors
/// `Internal` when our own addresses do not parse.
pub fn authorization_url(
    provider: &ProviderConfig,
    endpoints: &Endpoints,
    attempt: Attempt<'_>,
) -> Result<String> {
    let url = AuthUrl::new(endpoints.authorization.clone()).map_err(Error::internal)?;
    let verifier = PkceCodeVerifier::new(attempt.verifier.to_owned());
    let client = client(provider, attempt.redirect_uri)?.set_auth_uri(url);
    let mut request = client
        .authorize_url(|| CsrfToken::new(attempt.state.to_owned()))
        .add_scopes(endpoints.scopes.iter().map(|s| Scope::new((*s).to_owned())))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    if endpoints.scopes.contains(&"openid") {
        request = request.add_extra_param("nonce", attempt.nonce);
        if attempt.ask_again {
            request = request
                .add_extra_param("prompt", "login")
                .add_extra_param("max_age", "0");
        }
    }
    Ok(request.url().0.into())
}

/// oauth2's way to our HTTP client: a named future, as a closure's is not `Send` for all lifetimes.
struct Wire<'a>(&'a reqwest::Client);

impl<'c> oauth2::AsyncHttpClient<'c> for Wire<'_> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Failure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(send(self.0, request))
    }
}

impl Oidc {
    /// Hands in the code of an answer to the callback. Sent once: a code that was used is spent.
    ///
    /// # Errors
    /// `Upstream` when the provider does not answer as it should.
    pub async fn exchange(
        &self,
        provider: &ProviderConfig,
        endpoints: &Endpoints,
        secret: &SecretString,
        (code, attempt): (&str, Attempt<'_>),
    ) -> Result<Exchanged> {
        let failed = |why: &dyn std::fmt::Display| unreachable(provider, "exchange", why);
        let url = TokenUrl::new(endpoints.token.clone()).map_err(Error::internal)?;
        let client = client(provider, attempt.redirect_uri)?
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_auth_type(if endpoints.secret_in_body {
                AuthType::RequestBody
            } else {
                AuthType::BasicAuth
            })
            .set_token_uri(url);
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.to_owned()))
            .request_async(&Wire(&self.web))
            .await;
        match answer {
            Ok(tokens) => Ok(Exchanged::Tokens {
                id_token: tokens.extra_fields().id_token.clone(),
                access_token: tokens.access_token().secret().clone().into(),
            }),
            Err(RequestTokenError::ServerResponse(refusal)) => Ok(refused(provider, &refusal)),
            Err(RequestTokenError::Request(why)) => Err(failed(&why)),
            // GitHub refuses with status 200.
            Err(RequestTokenError::Parse(_, body)) => match serde_json::from_slice(&body) {
                Ok(refusal) => Ok(refused(provider, &refusal)),
                Err(_) => Err(failed(&"the answer is not one of RFC 6749")),
            },
            Err(RequestTokenError::Other(_)) => Err(failed(&"the answer is not one of RFC 6749")),
        }
    }
}

fn refused(provider: &ProviderConfig, refusal: &BasicErrorResponse) -> Exchanged {
    let error = refusal.error().as_ref();
    if [
        BasicErrorResponseType::InvalidClient.as_ref(),
        "incorrect_client_credentials",
    ]
    .contains(&error)
    {
        tracing::error!(
            auth.provider = provider.id,
            "an identity provider refuses our client secret"
        );
    }
    Exchanged::Refused(error.to_owned())
}
