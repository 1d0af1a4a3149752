//! Who is calling: the extractors that authenticate.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;

use super::limit;
use crate::app::App;
use crate::context::Context;
use crate::domain::auth::sessions::Session;
use crate::domain::auth::tokens::Claims;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::store::keys;

/// The cookie that carries a browser's access token.
pub const ACCESS_COOKIE: &str = "__Host-camarad-access";

/// How fresh a sign-in must be for what operators do.
const STEP_UP: SignedDuration = SignedDuration::from_mins(15);

/// A signed-in person.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// With which session.
    pub session: SessionId,
    /// When they proved who they are.
    pub authenticated_at: Timestamp,
    /// The request, as audit records tell it.
    pub context: Context,
}

impl Caller {
    fn of(claims: &Claims, context: &Context) -> Self {
        Self {
            user: claims.sub,
            session: claims.sid,
            authenticated_at: Timestamp::from_second(claims.auth_time).unwrap_or(Timestamp::UNIX_EPOCH),
            context: context.signed_in(claims.sub, claims.sid),
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

/// Whether this request may change something on the strength of cookies: its Origin is one of the frontend's. A
/// browser sets Origin on every write, and no page of another site can forge it.
pub fn same_site(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers
        .get(header::ORIGIN)
        .and_then(|o| o.to_str().ok())
        .is_some_and(|origin| allowed.iter().any(|a| a == origin))
}

/// Whether a method changes nothing (RFC 9110 §9.2.1).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn credentials<'a>(parts: &'a Parts, app: &App) -> Result<&'a str> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return token.map(|(_, t)| t.trim()).ok_or(Error::Unauthenticated(
            "the Authorization header is not a bearer token",
        ));
    }
    let token =
        cookie(&parts.headers, ACCESS_COOKIE).ok_or(Error::Unauthenticated("this needs a bearer token"))?;
    if !is_safe(&parts.method) && !same_site(&parts.headers, &app.config().frontend_origins) {
        return Err(Error::Forbidden(
            "a write with cookies must come from the frontend's origin",
        ));
    }
    Ok(token)
}

/// Where a request's caller is kept once the token was checked, as several extractors of one route ask for it.
#[derive(Clone, Default)]
pub(super) struct Checked(Arc<OnceCell<Caller>>);

/// Checks the access token; no table is asked.
///
/// # Errors
/// `Unauthenticated`; `Forbidden` for a write with cookies from another origin.
pub async fn authenticate(parts: &Parts, app: &App) -> Result<Caller> {
    let checked = parts
        .extensions
        .get::<Checked>()
        .ok_or_else(|| Error::internal("a route outside the edge"))?;
    checked.0.get_or_try_init(|| check(parts, app)).await.cloned()
}

async fn check(parts: &Parts, app: &App) -> Result<Caller> {
    let context = context(parts)?;
    let token = credentials(parts, app)?;
    let claims = app.tokens().check(app.secrets()?, token, context.now).await?;
    Ok(Caller::of(&claims, &context))
}

/// Refuses a session that has ended. Reads within an access token's life do not ask.
pub(super) fn live(session: Option<Session>, now: Timestamp) -> Result<Session> {
    session
        .filter(|s| s.is_live(now))
        .ok_or(Error::Unauthenticated("the session has ended: sign in again"))
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    /// One round trip: the rate counter and, for a write, the session side by side.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let caller = authenticate(parts, app).await?;
        let now = caller.context.now;
        let who = caller.user.to_string();
        let session = async {
            if is_safe(&parts.method) {
                return Ok(());
            }
            live(
                app.db()
                    .get::<Session>(&keys::session(caller.user, caller.session))
                    .await?,
                now,
            )
            .map(drop)
        };
        let (session, limit) = tokio::join!(session, app.limits().hit(app.db(), limit::USER, &who, now));
        session?;
        limit?;
        Ok(caller)
    }
}

/// One of Camarad's own staff, signed in a short while ago. No workspace role leads here: the deployment parameter
/// PlatformOperators does.
#[derive(Debug, Clone)]
pub struct Operator(pub Caller);

impl FromRequestParts<App> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let caller = authenticate(parts, app).await?;
        let now = caller.context.now;
        let (profile, session) = (
            keys::user(caller.user),
            keys::session(caller.user, caller.session),
        );
        let who = caller.user.to_string();
        let wanted = [profile.clone(), session.clone()];
        let (read, limit) = tokio::join!(
            app.db().batch(&wanted),
            app.limits().hit(app.db(), limit::USER, &who, now)
        );
        limit?;
        let mut read = read?;
        let session = live(read.read::<Session>(&session)?, now)?;
        let user = read.read::<User>(&profile)?;
        if !user.is_some_and(|u| app.config().operators.contains(&u.email)) {
            return Err(Error::Forbidden("this is for Camarad's operators"));
        }
        if now.duration_since(session.authenticated_at) > STEP_UP {
            return Err(Error::StepUpRequired);
        }
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

    #[test]
    fn only_the_frontends_origin_is_same_site() {
        let allowed = ["https://app.example".to_owned()];
        let mut headers = HeaderMap::new();
        assert!(!same_site(&headers, &allowed));
        headers.insert(
            header::ORIGIN,
            HeaderValue::from_static("https://app.example.evil"),
        );
        assert!(!same_site(&headers, &allowed));
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://app.example"));
        assert!(same_site(&headers, &allowed));
    }
}
