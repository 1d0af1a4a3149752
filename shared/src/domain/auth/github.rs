//! Who somebody is, by GitHub: the numeric id, and the address that is primary and verified.

use super::attempt::{Attempt, redirect_uri};
use super::id_token::plausible_email;
use super::proven::{About, Method, Proven};
use super::sign_in::{Answer, Stop, client_secret, code, exchanged, failed, no_email};
use crate::app::App;
use crate::config::ProviderConfig;
use crate::error::Result;
use crate::ports::oidc::github::{self, GithubEmail};

/// Who GitHub says this is.
pub(super) async fn identify(
    app: &App,
    provider: &ProviderConfig,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<Proven, Stop> {
    issuer(provider, answer)?;
    let code = code(answer)?;
    let redirect_uri = redirect_uri(app, provider);
    let secret = client_secret(app, provider).await?;
    let endpoints = github::endpoints(provider)?;
    let handed_in = (code, attempt.secrets(&redirect_uri));
    let oidc = app.oidc()?;
    let answered = oidc.exchange(provider, &endpoints, &secret, handed_in).await?;
    let (_, access_token) = exchanged(provider, answered)?;
    let (user, emails) = oidc.github_user(provider, &access_token).await?;
    Ok(Proven {
        provider: provider.id.clone(),
        method: Method::Oauth,
        subject: Some(user.id.to_string()),
        email: usable(&emails).ok_or_else(no_email)?,
        about: About {
            name: user.name,
            picture: user.avatar_url,
            ..About::default()
        },
    })
}

/// The address that is both primary and verified; a verified one that is not primary may be a forgotten one.
fn usable(emails: &[GithubEmail]) -> Option<String> {
    let primary = emails.iter().find(|e| e.primary && e.verified)?;
    plausible_email(&primary.email)
}

/// RFC 9207 §2.4: an answer that names another issuer is another provider's that was mixed in. Compared as text, to the
/// letter. That GitHub must name one is nowhere said, so an answer without it is taken.
fn issuer(provider: &ProviderConfig, answer: &Answer) -> Result<(), Stop> {
    match &answer.iss {
        Some(iss) if *iss != github::issuer(provider) => Err(failed("response_issuer")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_is_primary_and_verified_is_taken() {
        let email = |email: &str, primary, verified| GithubEmail {
            email: email.into(),
            primary,
            verified,
        };
        let all = [
            email("old@example.com", false, true),
            email("Ann@Example.com", true, true),
        ];
        assert_eq!(usable(&all).as_deref(), Some("ann@example.com"));
        assert_eq!(usable(&[email("a@example.com", true, false)]), None);
        assert_eq!(usable(&[email("a@example.com", false, true)]), None);
        assert_eq!(usable(&[]), None);
        assert_eq!(usable(&[email("nothing", true, true)]), None);
    }
}
