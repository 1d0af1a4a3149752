//! GitHub: OAuth 2 with PKCE, and its REST API in the place of an ID token.
//! <https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps>

use secrecy::SecretString;
use serde::Deserialize;

use super::wire::{Failure, get, is_safe, unreachable};
use super::{Endpoints, Oidc};
use crate::config::ProviderConfig;
use crate::error::{Error, Result};

const SITE: &str = "https://github.com";
const API: &str = "https://api.github.com";

/// Enough to read the profile and the addresses.
const SCOPES: &[&str] = &["read:user", "user:email"];

/// Somebody's account there. <https://docs.github.com/en/rest/users/users>
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GithubUser {
    /// For good; a login can be given up and taken by somebody else.
    pub id: u64,
    /// The full name.
    pub name: Option<String>,
    /// A picture's address.
    pub avatar_url: Option<String>,
}

/// One address of an account. <https://docs.github.com/en/rest/users/emails>
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GithubEmail {
    /// The address.
    pub email: String,
    /// Whether GitHub writes to this one.
    pub primary: bool,
    /// Whether its owner confirmed it.
    pub verified: bool,
}

/// Where the person signs in.
pub fn site(provider: &ProviderConfig) -> &str {
    match provider.issuer.trim_end_matches('/') {
        "" => SITE,
        site => site,
    }
}

/// What it calls itself in its answers to the callback (RFC 9207): `https://github.com/login/oauth`.
pub fn issuer(provider: &ProviderConfig) -> String {
    format!("{}/login/oauth", site(provider))
}

fn api(provider: &ProviderConfig) -> &str {
    provider
        .api_url
        .as_deref()
        .map_or(API, |url| url.trim_end_matches('/'))
}

/// Where the code flow takes place.
///
/// # Errors
/// `Internal` when the configured addresses are not safe to send secrets to.
pub fn endpoints(provider: &ProviderConfig) -> Result<Endpoints> {
    let site = site(provider);
    if !is_safe(site) || !is_safe(api(provider)) {
        return Err(Error::internal(format!(
            "AUTH_PROVIDERS: {}: an address is not https",
            provider.id
        )));
    }
    Ok(Endpoints {
        authorization: format!("{site}/login/oauth/authorize"),
        token: format!("{site}/login/oauth/access_token"),
        secret_in_body: true,
        scopes: SCOPES,
    })
}

impl Oidc {
    /// Whose token this is, with their addresses.
    ///
    /// # Errors
    /// `Upstream` when GitHub does not answer as it should.
    pub async fn github_user(
        &self,
        provider: &ProviderConfig,
        access_token: &SecretString,
    ) -> Result<(GithubUser, Vec<GithubEmail>)> {
        let (user, emails) = (
            format!("{}/user", api(provider)),
            format!("{}/user/emails", api(provider)),
        );
        let both: Result<_, Failure> = tokio::try_join!(
            get(&self.web, &user, Some(access_token)),
            get(&self.web, &emails, Some(access_token))
        );
        both.map_err(|why| unreachable(provider, "user", &why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(issuer: &str, api_url: Option<&str>) -> ProviderConfig {
        ProviderConfig {
            issuer: issuer.into(),
            api_url: api_url.map(str::to_owned),
            ..ProviderConfig::default()
        }
    }

    #[test]
    fn github_is_where_it_is_unless_told_otherwise() {
        let usual = endpoints(&at("", None)).unwrap();
        assert_eq!(usual.authorization, "https://github.com/login/oauth/authorize");
        assert_eq!(usual.token, "https://github.com/login/oauth/access_token");
        let own = at("https://git.example/", Some("https://git.example/api/v3/"));
        assert_eq!(
            endpoints(&own).unwrap().token,
            "https://git.example/login/oauth/access_token"
        );
        assert_eq!(api(&own), "https://git.example/api/v3");
    }

    #[test]
    fn no_secret_goes_to_an_address_that_is_not_safe() {
        assert!(endpoints(&at("http://git.example", None)).is_err());
        assert!(endpoints(&at("", Some("http://git.example/api/v3"))).is_err());
    }
}
