//! Refresh tokens: each is used once and replaced (RFC 9700 §4.14.2).
//!
//! A token names its session's item, so that using it is one conditional update; the table holds SHA-256 of it only.
//! Its successor is HMAC-SHA-256 of a fresh salt under the token's own secret. The salt is stored with the rotation,
//! so for ten seconds whoever holds the token that was just used (a second tab, a retry whose answer was lost)
//! derives the same successor again; and nobody can who has the table alone, or the token alone. Any other token of
//! the family is one that was used before: its copy is in two hands, and the whole family ends.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use jiff::SignedDuration;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::sessions::{self, Session};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::random;
use crate::store::keys;
use crate::store::record::Action;
use crate::store::{Cond, Outcome, Update};

/// How long the token that was used last still gives its successor.
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);

const PREFIX: &str = "camr_";
const FAMILY_LEN: usize = 22;
const SECRET_LEN: usize = 43;

/// A refresh token: `camr_<user>_<session>_<family and secret>`. It does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    user: UserId,
    session: SessionId,
    family: String,
    secret: String,
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RefreshToken({})", self.session)
    }
}

impl RefreshToken {
    /// The first token of a session.
    pub fn first(user: UserId, session: SessionId) -> Self {
        let family = BASE64URL_NOPAD.encode(&random::bytes::<16>());
        Self {
            user,
            session,
            family,
            secret: random::secret(),
        }
    }

    /// Reads a token; `None` for text that was never one.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (session, rest) = rest.split_once('_')?;
        let (family, secret) = rest.split_at_checked(FAMILY_LEN)?;
        let base64url = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if secret.len() != SECRET_LEN || !rest.bytes().all(base64url) {
            return None;
        }
        Some(Self {
            user: format!("{}{user}", UserId::PREFIX).parse().ok()?,
            session: format!("{}{session}", SessionId::PREFIX).parse().ok()?,
            family: family.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The text that the client keeps.
    pub fn expose(&self) -> String {
        format!(
            "{PREFIX}{}_{}_{}{}",
            self.user.body(),
            self.session.body(),
            self.family,
            self.secret
        )
    }

    /// Whose it says it is.
    pub(super) fn user(&self) -> UserId {
        self.user
    }

    /// Of which session it says it is.
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether this is the token that was stored as `hash`.
    pub(super) fn is(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }

    /// What the table holds of it.
    pub(super) fn hash(&self) -> String {
        keys::digest(&self.secret)
    }

    pub(super) fn family_hash(&self) -> String {
        keys::digest(&self.family)
    }

    /// The token that follows with this salt.
    pub(super) fn successor(&self, salt: &str) -> Result<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).map_err(Error::internal)?;
        mac.update(b"camarad/refresh-token/v1:");
        mac.update(salt.as_bytes());
        let secret = BASE64URL_NOPAD.encode(&mac.finalize().into_bytes());
        Ok(Self {
            secret,
            ..self.clone()
        })
    }
}

fn refused() -> Error {
    Error::Unauthenticated("the refresh token is not valid: sign in again")
}

/// Uses a refresh token: its session, and the token to use next time.
///
/// One write in the usual case, and no read.
///
/// # Errors
/// `Unauthenticated`, whatever is wrong with the token. A token that was used before also ends its session.
pub async fn rotate(app: &App, cause: &Context, presented: &str) -> Result<(Session, RefreshToken)> {
    let token = RefreshToken::parse(presented).ok_or_else(refused)?;
    let salt = random::secret();
    let next = token.successor(&salt)?;
    let update = Update::of(keys::session(token.user, token.session))
        .set("refreshHash", next.hash())?
        .set("previousHash", token.hash())?
        .set("salt", &salt)?
        .set("rotatedAt", cause.now)?
        .increase("generation", 1)?
        .when(
            Cond::eq("refreshHash", token.hash())?
                .and(Cond::absent("revokedAt"))
                .and(Cond::absent("pendingUntil"))
                .and(Cond::gt("expiresAt", cause.now)?),
        );
    match app.db().update(&update).await? {
        Outcome::Applied(doc) => Ok((doc.read()?, next)),
        Outcome::Refused(None) => Err(refused()),
        Outcome::Refused(Some(doc)) => late(app, cause, &token, doc.read()?).await,
    }
}

/// The token is not the live one: it was used a moment ago, or long ago, or never existed.
async fn late(
    app: &App,
    cause: &Context,
    token: &RefreshToken,
    session: Session,
) -> Result<(Session, RefreshToken)> {
    if !session.is_live(cause.now) || session.family_hash != token.family_hash() {
        return Err(refused());
    }
    let in_grace = cause.now.duration_since(session.rotated_at) < GRACE;
    if let Some(salt) = session.salt.as_deref()
        && in_grace
        && session.previous_hash.as_deref() == Some(&token.hash())
    {
        let next = token.successor(salt)?;
        return Ok((session, next));
    }
    tracing::warn!(session.id = %session.id, "a refresh token was used again: its session ends");
    let family = (token.user, token.session);
    // Which of two hands this is, is not known, so the actor stays nobody; where it came from is its person's to see.
    let cause = &cause.with_key(session.person_key);
    sessions::revoke(
        app,
        cause,
        family,
        Action::SessionRevoked,
        "refresh token used again",
    )
    .await?;
    Err(refused())
}

/// Ends the session that a refresh token belongs to, whichever of its tokens it is. One that has ended already is no
/// error.
///
/// # Errors
/// `Unauthenticated` when it is no token of any session.
pub async fn sign_out(app: &App, cause: &Context, presented: &str) -> Result<()> {
    let token = RefreshToken::parse(presented).ok_or_else(refused)?;
    let family = (token.user, token.session);
    let session: Option<Session> = app.db().get(&keys::session(family.0, family.1)).await?;
    let session = session
        .filter(|s| s.family_hash == token.family_hash() && s.pending_until.is_none())
        .ok_or_else(refused)?;
    if !session.is_live(cause.now) {
        return Ok(());
    }
    let cause = &cause.signed_in(family.0, family.1).with_key(session.person_key);
    sessions::revoke(app, cause, family, Action::UserLogout, "signed out").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn token() -> RefreshToken {
        let clock = ManualClock::at_unix(1_700_000_000);
        RefreshToken::first(UserId::new(&clock), SessionId::new(&clock))
    }

    #[test]
    fn a_token_survives_its_text_form() {
        for _ in 0..200 {
            let token = token();
            assert!(RefreshToken::parse(&token.expose()) == Some(token));
        }
    }

    #[test]
    fn text_that_was_never_a_token_is_refused() {
        let good = token().expose();
        let short = &good[..good.len() - 1];
        let long = format!("{good}A");
        let odd = format!("{short}=");
        let other_prefix = good.replacen("camr_", "camx_", 1);
        let umlaut = format!("{}ü", &good[..good.len() - 2]);
        for text in ["", "camr_", "camr___", short, &long, &odd, &other_prefix, &umlaut] {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_successor_follows_from_token_and_salt_and_from_nothing_less() {
        let token = token();
        let next = token.successor("a").ok();
        assert!(next.is_some() && next == token.successor("a").ok());
        assert!(next != token.successor("b").ok());
        assert!(
            next != super::RefreshToken {
                secret: random::secret(),
                ..token.clone()
            }
            .successor("a")
            .ok()
        );
        assert!(next.is_some_and(|n| n.family == token.family && n.secret.len() == SECRET_LEN));
    }

    #[test]
    fn a_token_does_not_print_itself() {
        let token = token();
        assert!(!format!("{token:?}").contains(&token.secret));
    }
}
