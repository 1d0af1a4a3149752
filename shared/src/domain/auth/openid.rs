//! Who somebody is, by an OpenID provider: the ID token, and userinfo where it says no address.

use secrecy::{ExposeSecret, SecretString};

use super::attempt::{Attempt, redirect_uri};
use super::id_token::{self, Expected, Header, Identity};
use super::proven::{Address, Method, Proven};
use super::sign_in::{Answer, Stop, client_secret, code, exchanged, failed};
use crate::app::App;
use crate::config::ProviderConfig;
use crate::error::Result;
use crate::ports::oidc::{Metadata, Oidc};

/// Who the provider says this is.
pub(super) async fn identify(
    app: &App,
    provider: &ProviderConfig,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<Proven, Stop> {
    let (oidc, now) = (app.oidc()?, attempt.taken_at);
    let metadata = oidc.metadata(provider, now).await?;
    issuer(provider, &metadata, answer)?;
    let code = code(answer)?;
    let redirect_uri = redirect_uri(app, provider);
    let secret = client_secret(app, provider).await?;
    let handed_in = (code, attempt.secrets(&redirect_uri));
    let answered = oidc
        .exchange(provider, &metadata.endpoints(), &secret, handed_in)
        .await?;
    let (id_token, access_token) = exchanged(provider, answered)?;
    let id_token = id_token.ok_or_else(|| failed("id_token_missing"))?;
    let header = Header::of(&id_token).map_err(|flaw| failed(flaw.as_str()))?;
    let keys = oidc.keys(provider, &header.kid, now).await?;
    let expected = Expected {
        issuer: &provider.issuer,
        client_id: &provider.client_id,
        nonce: &attempt.nonce,
        access_token: access_token.expose_secret(),
        now,
        asked_since: attempt.asked_since(),
    };
    let identity =
        id_token::check(&id_token, &header, &keys, expected).map_err(|flaw| failed(flaw.as_str()))?;
    let identity = with_address(oidc, provider, &metadata, (identity, &access_token)).await?;
    Ok(Proven {
        provider: provider.id.clone(),
        method: Method::Oidc,
        address: Address::told_by(provider, identity.verified_email()),
        subject: Some(identity.sub.clone()),
        about: identity.about(),
    })
}

/// RFC 9207: the answer is this provider's own, not another one's that was mixed in.
fn issuer(provider: &ProviderConfig, metadata: &Metadata, answer: &Answer) -> Result<(), Stop> {
    match &answer.iss {
        Some(iss) if *iss == provider.issuer => Ok(()),
        None if !metadata.authorization_response_iss_parameter_supported => Ok(()),
        _ => Err(failed("response_issuer")),
    }
}

/// The identity, with the address from userinfo if the ID token has none.
async fn with_address(
    oidc: &Oidc,
    provider: &ProviderConfig,
    metadata: &Metadata,
    (identity, access_token): (Identity, &SecretString),
) -> Result<Identity, Stop> {
    if identity.email.is_some() {
        return Ok(identity);
    }
    let Some(told) = oidc.userinfo(provider, metadata, access_token).await? else {
        return Ok(identity);
    };
    let told: Identity = serde_json::from_value(told).map_err(|_| failed("userinfo_malformed"))?;
    // OpenID Connect Core 1.0 §5.3.2: without this, another person's access token would bring their address along.
    if told.sub != identity.sub {
        return Err(failed("userinfo_subject"));
    }
    Ok(identity.completed_by(told))
}
