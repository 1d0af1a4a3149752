//! Who is calling: the extractors that authenticate.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};

use super::claimed::is_safe;
pub use super::claimed::{Claimed, authenticate};
use super::limit::hit;
use crate::app::App;
use crate::context::Context;
use crate::domain::auth::sessions::Session;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, SessionId, UserId, WorkspaceId};
use crate::store::db::Batch;
use crate::store::keys::{self, Key};

/// The cookie that carries a browser's access token.
pub const ACCESS_COOKIE: &str = "__Host-camarad-access";

/// How fresh a sign-in must be for what operators do, and for changes of how one signs in.
const STEP_UP: SignedDuration = SignedDuration::from_mins(15);

/// What somebody showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session(SessionId),
    /// This API key.
    ApiKey(ApiKeyId),
}

/// A person who is signed in, or a program with an API key of theirs that is allowed to do this.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// With what.
    pub credential: Credential,
    /// The request, as audit records tell it.
    pub context: Context,
    /// The only workspace that the API key is good in.
    pub(super) only_in: Option<WorkspaceId>,
}

impl Caller {
    /// The session, where only sessions come.
    ///
    /// # Errors
    /// `InsufficientScope` for an API key.
    pub fn session(&self) -> Result<SessionId> {
        match self.credential {
            Credential::Session(id) => Ok(id),
            Credential::ApiKey(_) => Err(Error::InsufficientScope(None)),
        }
    }

    /// Keeps an API key in its workspace; elsewhere is nothing that it may know of.
    pub(super) fn enters(&self, workspace: WorkspaceId) -> Result<()> {
        match self.only_in {
            Some(only) if only != workspace => Err(Error::NotFound),
            _ => Ok(()),
        }
    }
}

/// The request's context, which the edge made.
pub(super) fn context(parts: &Parts) -> Result<Arc<Context>> {
    parts
        .extensions
        .get::<Arc<Context>>()
        .cloned()
        .ok_or_else(|| Error::internal("a route outside the edge"))
}

impl FromRequestParts<App> for Context {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Ok(context(parts)?.as_ref().clone())
    }
}

/// The value of a cookie; the first, if a client sends several.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| v)
}

/// Reads what proves the claim, with the rate counter and the note of a key's use beside it, in one round trip.
pub(super) async fn read(
    parts: &Parts,
    app: &App,
    claimed: &Claimed,
    must_live: bool,
    operator: Option<Key>,
) -> Result<Batch> {
    let (limit, who) = claimed.limit();
    // What operators do moves money.
    let limit = if operator.is_some() { limit.closed() } else { limit };
    let wanted: Vec<_> = claimed.evidence(must_live).into_iter().chain(operator).collect();
    let (read, counted, ()) = tokio::join!(
        app.db().batch(&wanted),
        hit(parts, app, limit, &who),
        claimed.note_use(app)
    );
    counted?;
    read
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    /// One round trip: the rate counter and, for a write or an API key, the session or the key side by side.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claimed = authenticate(parts, app).await?;
        let must_live = !is_safe(&parts.method);
        let mut read = read(parts, app, &claimed, must_live, None).await?;
        let caller = claimed.proven(&mut read, must_live)?;
        match caller.only_in {
            // What is not in a workspace is not in that workspace.
            Some(_) => Err(Error::InsufficientScope(None)),
            None => Ok(caller),
        }
    }
}

/// A person who proved who they are within the last fifteen minutes; for what must not be done with a session that
/// was left open, or taken. No API key comes here.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// Who.
    pub caller: Caller,
    /// With which session.
    pub session: SessionId,
}

impl FromRequestParts<App> for Fresh {
    type Rejection = Error;

    /// One round trip: the rate counter beside the session, for reads too.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claimed = authenticate(parts, app).await?;
        let mut read = read(parts, app, &claimed, true, None).await?;
        let (caller, session) = claimed.in_session(&mut read)?;
        fresh(&session, caller.context.now)?;
        Ok(Self {
            session: session.id,
            caller,
        })
    }
}

fn fresh(session: &Session, now: Timestamp) -> Result<()> {
    if now.duration_since(session.authenticated_at) > STEP_UP {
        return Err(Error::StepUpRequired);
    }
    Ok(())
}

/// One of Camarad's own staff, signed in a short while ago. No workspace role leads here: the deployment parameter
/// PlatformOperators does.
#[derive(Debug, Clone)]
pub struct Operator(pub Caller);

impl FromRequestParts<App> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claimed = authenticate(parts, app).await?;
        let profile = keys::user(claimed.user);
        let mut read = read(parts, app, &claimed, true, Some(profile.clone())).await?;
        let (caller, session) = claimed.in_session(&mut read)?;
        let user = read.read::<User>(&profile)?;
        if !user.is_some_and(|u| u.is_staff(app.config())) {
            return Err(Error::Forbidden("this is for Camarad's operators"));
        }
        fresh(&session, caller.context.now)?;
        Ok(Self(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static(
                "x__Host-camarad-access=no; a=b; __Host-camarad-access=yes; __Host-camarad-access=later",
            ),
        );
        assert_eq!(cookie(&headers, ACCESS_COOKIE), Some("yes"));
        assert_eq!(cookie(&headers, "b"), None);
    }
}
