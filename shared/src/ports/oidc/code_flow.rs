//! The authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636).

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

use super::wire::{Failure, send, unreachable};
use super::{Metadata, Oidc};
use crate::config::ProviderConfig;
use crate::error::{Error, Result};

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
}

/// What came of a code.
#[derive(Debug)]
pub enum Exchanged {
    /// The provider took it.
    Tokens {
        /// Still to be checked.
        id_token: String,
        /// For the ID token's `at_hash`.
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

/// `client_secret_basic` unless the provider takes the other kind only (OpenID Connect Discovery 1.0 §3).
fn auth_type(metadata: &Metadata) -> AuthType {
    let methods = metadata
        .token_endpoint_auth_methods_supported
        .as_deref()
        .unwrap_or_default();
    let takes = |name: &str| methods.iter().any(|m| m == name);
    if takes("client_secret_post") && !takes("client_secret_basic") {
        AuthType::RequestBody
    } else {
        AuthType::BasicAuth
    }
}

/// Where the person goes to sign in.
///
/// # Errors
/// `Internal` when our own addresses do not parse.
pub fn authorization_url(
    provider: &ProviderConfig,
    metadata: &Metadata,
    attempt: Attempt<'_>,
) -> Result<String> {
    let url = AuthUrl::new(metadata.authorization_endpoint.clone()).map_err(Error::internal)?;
    let verifier = PkceCodeVerifier::new(attempt.verifier.to_owned());
    let scopes = ["openid", "email", "profile"].map(|s| Scope::new(s.to_owned()));
    let (url, _) = client(provider, attempt.redirect_uri)?
        .set_auth_uri(url)
        .authorize_url(|| CsrfToken::new(attempt.state.to_owned()))
        .add_scopes(scopes)
        .add_extra_param("nonce", attempt.nonce)
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .url();
    Ok(url.into())
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
        metadata: &Metadata,
        secret: &SecretString,
        (code, attempt): (&str, Attempt<'_>),
    ) -> Result<Exchanged> {
        let failed = |why: &dyn std::fmt::Display| unreachable(provider, "exchange", why);
        let url = TokenUrl::new(metadata.token_endpoint.clone()).map_err(Error::internal)?;
        let client = client(provider, attempt.redirect_uri)?
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_auth_type(auth_type(metadata))
            .set_token_uri(url);
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.to_owned()))
            .request_async(&Wire(&self.web))
            .await;
        match answer {
            Ok(tokens) => match &tokens.extra_fields().id_token {
                Some(id_token) => Ok(Exchanged::Tokens {
                    id_token: id_token.clone(),
                    access_token: tokens.access_token().secret().clone().into(),
                }),
                None => Err(failed(&"no ID token in the answer")),
            },
            Err(RequestTokenError::ServerResponse(refusal)) => {
                if *refusal.error() == BasicErrorResponseType::InvalidClient {
                    tracing::error!(
                        auth.provider = provider.id,
                        "an identity provider refuses our client secret"
                    );
                }
                Ok(Exchanged::Refused(refusal.error().as_ref().to_owned()))
            }
            Err(RequestTokenError::Request(why)) => Err(failed(&why)),
            Err(_) => Err(failed(&"the answer is not one of RFC 6749")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_goes_into_the_header_unless_only_the_body_is_taken() {
        let with = |methods: Option<&[&str]>| {
            auth_type(&Metadata {
                issuer: String::new(),
                authorization_endpoint: String::new(),
                token_endpoint: String::new(),
                jwks_uri: String::new(),
                token_endpoint_auth_methods_supported: methods
                    .map(|m| m.iter().map(|s| (*s).to_owned()).collect()),
                authorization_response_iss_parameter_supported: false,
            })
        };
        assert!(matches!(with(None), AuthType::BasicAuth));
        assert!(matches!(
            with(Some(&["client_secret_post", "client_secret_basic"])),
            AuthType::BasicAuth
        ));
        assert!(matches!(
            with(Some(&["client_secret_post"])),
            AuthType::RequestBody
        ));
    }
}
