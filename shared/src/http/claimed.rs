//! What a request says of who sends it, checked as far as that goes without the table: a signed access token is proof,
//! an API key is a claim until its item has been read. The item is read together with whatever else the request needs,
//! and until it is here nothing that the request is told, and nothing that others see, depends on the claim.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, header};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::caller::{Caller, Credential};
use super::cookies::{ACCESS_COOKIE, cookie, only_from_frontend};
use super::limit::hit;
use super::scopes;
use crate::app::App;
use crate::context::Context;
use crate::domain::audit::refusal::Refusal;
use crate::domain::auth::api_keys::{self, ApiKey, ApiKeyToken, KeyScope, Realm};
use crate::domain::auth::sessions::Session;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::db::Batch;
use crate::store::keys::{self, Key};
use crate::store::limits::{self, Limit};

/// Whom a request says it comes from.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Who.
    pub user: UserId,
    /// With what.
    pub credential: Credential,
    /// The request, as audit records tell it.
    pub context: Context,
    /// The API key, while its item is not read.
    key: Option<ApiKeyToken>,
    /// What a key must be allowed for this route.
    needed: Option<KeyScope>,
    /// Whether the request may move money.
    money: bool,
}

/// Where a request's claim is kept once the token was checked, as several extractors of one route ask for it.
#[derive(Clone, Default)]
pub(super) struct Checked(Arc<OnceCell<Claimed>>);

impl Checked {
    /// Puts on record that the caller was refused for asking too often. An API key is a claim until its item was read, and
    /// nobody's log may be written on the strength of a claim; the first refusal of a window reads it.
    pub(super) async fn refused(&self, app: &App, bound: (u32, u32)) {
        let Some(claimed) = self.0.get() else { return };
        let (_, who) = claimed.limit();
        let Some(refusal) = Refusal::first(app, &who, bound, claimed.context.now) else {
            return;
        };
        let session = match claimed.credential {
            Credential::Session(id) => Some(keys::session(claimed.user, id)),
            Credential::ApiKey(_) => None,
        };
        let Ok(mut cause) = claimed.clone().cause(app).await else {
            return;
        };
        if let Some(session) = session {
            // What is still without the person's key is kept without address and client.
            let known = app.db().get::<Session>(&session).await;
            cause.person_key = known.ok().flatten().and_then(|s| s.person_key);
        }
        refusal.record(app, &cause).await;
    }
}

/// Checks the access token, or reads the API key; no table is asked.
///
/// # Errors
/// `Unauthenticated`; `Forbidden` for a write with cookies from another origin.
pub async fn authenticate(parts: &Parts, app: &App) -> Result<Claimed> {
    let checked = parts
        .extensions
        .get::<Checked>()
        .ok_or_else(|| Error::internal("a route outside the edge"))?;
    checked.0.get_or_try_init(|| check(parts, app)).await.cloned()
}

async fn check(parts: &Parts, app: &App) -> Result<Claimed> {
    let context = super::caller::context(parts)?;
    let token = credentials(parts, app)?;
    if token.starts_with(api_keys::PREFIX) {
        let key = ApiKeyToken::parse(Realm::of_stage(&app.config().stage), token).ok_or(NOT_A_KEY)?;
        return Ok(Claimed {
            user: key.user,
            credential: Credential::ApiKey(key.id),
            context: context.with_api_key(key.user, key.id),
            needed: scopes::needed(parts),
            money: scopes::moves_money(parts),
            key: Some(key),
        });
    }
    let claims = app.tokens().check(app.db(), token, context.now).await?;
    Ok(Claimed {
        user: claims.sub,
        credential: Credential::Session(claims.sid),
        context: context.signed_in(claims.sub, claims.sid),
        needed: None,
        money: scopes::moves_money(parts),
        key: None,
    })
}

const NOT_A_KEY: Error = Error::Unauthenticated("the API key is not valid");

/// The bearer token, or else the access cookie. A cookie holds no API key: what a browser sends by itself must end
/// with its session.
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
    let token = cookie(&parts.headers, ACCESS_COOKIE)
        .filter(|token| !token.starts_with(api_keys::PREFIX))
        .ok_or(Error::Unauthenticated("this needs a bearer token"))?;
    if !is_safe(&parts.method) {
        only_from_frontend(&parts.headers, app.config())?;
    }
    Ok(token)
}

/// Whether a method changes nothing (RFC 9110 §9.2.1).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses a session that has ended.
fn live(session: Option<Session>, now: Timestamp) -> Result<Session> {
    session
        .filter(|s| s.is_live(now))
        .ok_or(Error::Unauthenticated("the session has ended: sign in again"))
}

impl Claimed {
    /// The item that proves the claim: an API key's own, always; the session's for what must not be done with one that
    /// was ended. Reads within an access token's life do not ask for it.
    pub(super) fn evidence(&self, must_live: bool) -> Option<Key> {
        match self.credential {
            Credential::ApiKey(id) => Some(keys::api_key(self.user, id)),
            Credential::Session(id) => must_live.then(|| keys::session(self.user, id)),
        }
    }

    /// Who calls, now that `evidence` was read.
    ///
    /// # Errors
    /// `Unauthenticated`; `InsufficientScope`.
    pub(super) fn proven(mut self, read: &mut Batch, must_live: bool) -> Result<Caller> {
        if must_live && matches!(self.credential, Credential::Session(_)) {
            return self.in_session(read).map(|(caller, _)| caller);
        }
        let only_in = match &self.key {
            None => None,
            Some(token) => {
                let item = read.read::<ApiKey>(&keys::api_key(token.user, token.id))?;
                let item = item
                    .filter(|key| key.admits(token, self.context.now))
                    .ok_or(NOT_A_KEY)?;
                let needed = self.needed.ok_or(Error::InsufficientScope(None))?;
                if !item.scopes.contains(&needed) {
                    return Err(Error::InsufficientScope(Some(needed.as_str())));
                }
                self.context.person_key = item.person_key;
                item.workspace_id
            }
        };
        Ok(Caller {
            user: self.user,
            credential: self.credential,
            context: self.context,
            only_in,
        })
    }

    /// The same where nothing but a session will do, with that session.
    pub(super) fn in_session(self, read: &mut Batch) -> Result<(Caller, Session)> {
        let now = self.context.now;
        let Credential::Session(id) = self.credential else {
            // A key is refused by its route's scope; one that is not even a key, by that.
            self.proven(read, true)?;
            return Err(Error::InsufficientScope(None));
        };
        let session = live(read.read(&keys::session(self.user, id))?, now)?;
        let caller = Caller {
            user: self.user,
            credential: self.credential,
            context: self.context.with_key(session.person_key.clone()),
            only_in: None,
        };
        Ok((caller, session))
    }

    /// Counts the request and asks the table now, before an error is told that an unproven claim must not learn of.
    ///
    /// # Errors
    /// `Unauthenticated`; `InsufficientScope`; `RateLimited`.
    pub async fn settle(self, parts: &Parts, app: &App) -> Result<()> {
        let (limit, who) = self.limit();
        let (counted, proven) = tokio::join!(hit(parts, app, limit, &who), self.cause(app));
        counted.and(proven.map(drop))
    }

    /// The request's cause, once nothing of it is a mere claim.
    async fn cause(self, app: &App) -> Result<Context> {
        if self.key.is_none() {
            return Ok(self.context);
        }
        let wanted: Vec<_> = self.evidence(false).into_iter().collect();
        let caller = self.proven(&mut app.db().batch(&wanted).await?, false)?;
        Ok(caller.context)
    }

    /// What its requests are counted against.
    pub(super) fn limit(&self) -> (Limit, String) {
        let (limit, who) = match &self.key {
            Some(token) => (limits::KEY, token.fingerprint()),
            None => (limits::USER, self.user.to_string()),
        };
        // What moves money is refused when nobody counts.
        (if self.money { limit.closed() } else { limit }, who)
    }

    /// The name of an Idempotency-Key in the table. Those of an API key are its own, so that a made-up one cannot claim
    /// or look up a name of the person whose ids it has.
    pub(super) fn once_name(&self, header: &str) -> String {
        match &self.key {
            Some(token) => format!("{}:{header}", token.fingerprint()),
            None => header.to_owned(),
        }
    }

    /// Notes that an API key was used; for a session there is nothing to note.
    pub(super) async fn note_use(&self, app: &App) {
        if let Some(token) = &self.key {
            Box::pin(app.key_uses().note(app.db(), token, self.context.now)).await;
        }
    }
}
