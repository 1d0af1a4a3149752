//! What a client gets at the end of a sign-in or a refresh.

use serde::{Deserialize, Serialize};

use super::refresh::RefreshToken;
use super::sessions::{self, Session, SessionView};
use super::tokens::ACCESS_LIFE;
use crate::app::App;
use crate::context::Context;
use crate::domain::users::User;
use crate::domain::users::profile::UserView;
use crate::error::Result;
use crate::ids::{SessionId, UserId};
use crate::store::keys;

/// Tokens for a program (RFC 6749 §5.1, in camelCase).
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenGrant {
    /// For the Authorization header.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds that the access token is good for.
    pub expires_in: i64,
    /// For `POST /api/auth/refresh`, once.
    pub refresh_token: String,
    /// Who signed in; absent after a refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserView>,
}

impl std::fmt::Debug for TokenGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenGrant")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl TokenGrant {
    /// A fresh access token of this session, with the refresh token that follows.
    ///
    /// # Errors
    /// `Unavailable` when the signing key cannot be had.
    pub async fn of(
        app: &App,
        cause: &Context,
        (session, refresh): (&Session, &RefreshToken),
        user: Option<User>,
    ) -> Result<Self> {
        let proven = session.authenticated_at;
        let access_token = app
            .tokens()
            .sign(app, (session.user_id, session.id), proven, cause.now)
            .await?;
        Ok(Self {
            access_token,
            token_type: "Bearer".into(),
            expires_in: ACCESS_LIFE.as_secs(),
            refresh_token: refresh.expose(),
            user: user.map(Into::into),
        })
    }
}

/// A new access token in a session that goes on.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessGrant {
    /// For the Authorization header.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds that the access token is good for.
    pub expires_in: i64,
}

impl AccessGrant {
    /// For this session, as fresh as it is now.
    ///
    /// # Errors
    /// `Unavailable` when the signing key cannot be had.
    pub async fn of(app: &App, cause: &Context, session: &Session) -> Result<Self> {
        let (who, proven) = ((session.user_id, session.id), session.authenticated_at);
        Ok(Self {
            access_token: app.tokens().sign(app, who, proven, cause.now).await?,
            token_type: "Bearer".into(),
            expires_in: ACCESS_LIFE.as_secs(),
        })
    }
}

/// What a program gets whose person is to show a second factor.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MfaRequired {
    /// True.
    pub mfa_required: bool,
    /// For `POST /api/auth/2fa`, within ten minutes.
    pub mfa_token: String,
}

/// What a program gets at the end of an attempt.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant)] // for the API's document: none is ever made
pub enum Granted {
    /// Of a sign-in.
    Tokens(TokenGrant),
    /// Of a sign-in that waits for a second factor.
    Waiting(MfaRequired),
    /// Of a step-up: the session and its refresh token go on.
    Access(AccessGrant),
}

/// Who is signed in, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CurrentSession {
    /// The person.
    pub user: UserView,
    /// Their session.
    pub session: SessionView,
}

/// The caller's session, with the person whose it is.
///
/// # Errors
/// `Unauthenticated` when it has ended.
pub async fn current(
    app: &App,
    cause: &Context,
    (user, session): (UserId, SessionId),
) -> Result<CurrentSession> {
    let (profile, own) = (keys::user(user), keys::session(user, session));
    let mut read = app.db().batch(&[profile.clone(), own.clone()]).await?;
    let session = read.read::<Session>(&own)?.filter(|s| s.is_live(cause.now));
    match (read.read::<User>(&profile)?, session) {
        (Some(user), Some(session)) => Ok(CurrentSession {
            user: user.into(),
            session: (&session).into(),
        }),
        _ => Err(sessions::ended()),
    }
}
