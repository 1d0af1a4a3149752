//! Services of ours that call from outside: programs with an API key of one of Camarad's own staff, made for this.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::caller::{Caller, Credential, read};
use super::claimed::authenticate;
use crate::app::App;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::store::keys;

/// A service, with an API key whose scope is the route's. Only an operator can make such a key, and it ends when its
/// owner is no operator any more.
#[derive(Debug, Clone)]
pub struct Service(pub Caller);

impl FromRequestParts<App> for Service {
    type Rejection = Error;

    /// One round trip: the rate counter beside the key and its owner's profile.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claimed = authenticate(parts, app).await?;
        let profile = keys::user(claimed.user);
        let mut read = read(parts, app, &claimed, true, Some(profile.clone())).await?;
        let owner = read.read::<User>(&profile)?;
        let caller = claimed.proven(&mut read, true)?;
        let staff = owner.is_some_and(|u| u.is_staff(app.config()));
        if matches!(caller.credential, Credential::Session(_)) || !staff {
            return Err(Error::Forbidden("this is for Camarad's own services"));
        }
        Ok(Self(caller))
    }
}
