//! Who somebody is, by GitHub: the numeric id, and the address that is primary and verified.

use super::attempt::{Attempt, redirect_uri};
use super::proven::{About, Address, Method, Proven, usable};
use super::sign_in::{Answer, Stop, client_secret, code, exchanged, failed};
use crate::app::App;
use crate::config::ProviderConfig;
use crate::error::{Result, SignInRefusal};
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
        address: Address::told_by(provider, verified(&emails)),
        about: About {
            name: user.name,
            picture: user.avatar_url,
            ..About::default()
        },
    })
}

/// The address that is both primary and verified; a verified one that is not primary may be a forgotten one.
fn verified(emails: &[GithubEmail]) -> Result<String, SignInRefusal> {
    let primary = emails.iter().find(|e| e.primary && e.verified);
    usable(&primary.ok_or(SignInRefusal::EmailUnverified)?.email)
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
        assert_eq!(verified(&all).as_deref(), Ok("ann@example.com"));
        let unverified = Err(SignInRefusal::EmailUnverified);
        assert_eq!(verified(&[email("a@example.com", true, false)]), unverified);
        assert_eq!(verified(&[email("a@example.com", false, true)]), unverified);
        assert_eq!(verified(&[]), unverified);
        let nothing = verified(&[email("nothing", true, true)]);
        assert_eq!(nothing, Err(SignInRefusal::EmailUnusable));
    }
}
