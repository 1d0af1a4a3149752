//! Signing in with a link that is mailed.
//!
//! Asking for one looks nothing up: whether the address has an account shows neither in the answer nor in its time, and
//! is only found out when the link is used. The table holds the hash of the link's token and no address: that is in the
//! token. Opening the link changes nothing, so a scanner that fetches it neither signs in nor uses it up; only the page's
//! form does, in the browser that has seen the page: its nonce belongs to a cookie of that browser and to the token.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::attempt::{Mode, Wish};
use super::enter::{self, Spent};
use super::proven::{About, Method, Proven};
use super::return_to::ReturnTo;
use super::sign_in::{Failure, SignedIn, log};
use crate::app::App;
use crate::config::EMAIL_PROVIDER;
use crate::context::Context;
use crate::domain::mail::{self, Letter, Order};
use crate::domain::plans::Plan;
use crate::domain::users::fields::EmailAddress;
use crate::error::{Error, Result, SignInRefusal};
use crate::ids::EventId;
use crate::random;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Entity};

/// How long a link works.
pub const LINK_LIFE: SignedDuration = SignedDuration::from_mins(15);

/// The length of a secret of 256 bits in base64url.
const SECRET_LEN: usize = 43;

/// What a link says: `<mode>.<secret>.<address>`, the address in base64url.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkToken {
    text: String,
    /// Who would get the tokens.
    pub mode: Mode,
    /// Whose link it says that it is.
    pub email: EmailAddress,
}

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkToken")
    }
}

impl LinkToken {
    fn fresh(mode: Mode, email: &EmailAddress) -> Self {
        let address = BASE64URL_NOPAD.encode(email.as_str().as_bytes());
        Self {
            text: format!("{}{}.{address}", mode.prefix(), random::secret()),
            mode,
            email: email.clone(),
        }
    }

    /// Reads a token; `None` for text that was never one. Nothing is looked up.
    pub fn parse(text: &str) -> Option<Self> {
        let mode = Mode::of_state(text);
        let (secret, address) = text.strip_prefix(mode.prefix())?.split_once('.')?;
        let base64url = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if secret.len() != SECRET_LEN || !secret.bytes().all(base64url) {
            return None;
        }
        let address = String::from_utf8(BASE64URL_NOPAD.decode(address.as_bytes()).ok()?).ok()?;
        let email = EmailAddress::parse(&address).filter(|e| e.as_str() == address)?;
        Some(Self {
            text: text.to_owned(),
            mode,
            email,
        })
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the form must bring from the page, for a browser that has this secret as a cookie.
    pub fn nonce(&self, binding: &str) -> String {
        keys::digest(&format!("camarad/magic-link/v1:{binding}:{}", self.text))
    }
}

/// A link that was mailed and not used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MagicLink {
    #[serde(skip)]
    token: String,
    plan: Plan,
    return_to: ReturnTo,
    mode: Mode,
    expires_at: Timestamp,
}

impl Entity for MagicLink {
    const KIND: &'static str = "magic-link";
    fn key(&self) -> Key {
        keys::magic_link(&self.token)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}

/// Mails a link that signs in whoever reads mail at `email`.
///
/// # Errors
/// `NotFound` where no mail is sent; `Unavailable` when table or queue does not answer.
pub async fn ask(app: &App, cause: &Context, email: &EmailAddress, wish: Wish) -> Result<()> {
    if app.config().mail_from.is_none() {
        return Err(Error::NotFound);
    }
    let token = LinkToken::fresh(wish.mode, email);
    let expires_at = cause.now.checked_add(LINK_LIFE).map_err(Error::internal)?;
    let link = MagicLink {
        token: token.text.clone(),
        plan: wish.plan,
        return_to: wish.return_to,
        mode: wish.mode,
        expires_at,
    };
    app.db().put(&link, None).await?;
    let page = format!("{}/api/auth/magic-link/verify", app.config().public_url);
    let order = Order {
        id: EventId::new(app.clock()),
        to: email.as_str().to_owned(),
        letter: Letter::MagicLink {
            link: format!("{page}?token={}", token.text),
            minutes: u32::try_from(LINK_LIFE.as_mins()).unwrap_or_default(),
        },
        expires_at,
    };
    mail::order(app, &order).await
}

/// Signs in with a link: the person whose address it was mailed to, or a new one. `binding` is the browser's cookie,
/// `nonce` what the page gave it.
///
/// # Errors
/// `SignIn`, whatever is wrong with token or nonce; a link is used up by the sign-in alone.
pub async fn redeem(
    app: &App,
    cause: &Context,
    token: &LinkToken,
    (binding, nonce): (Option<&str>, &str),
) -> Result<SignedIn> {
    let refused = Error::SignIn(SignInRefusal::Failed);
    let expected = binding.map(|binding| token.nonce(binding));
    if !expected.is_some_and(|e| bool::from(e.as_bytes().ct_eq(nonce.as_bytes()))) {
        // Anybody can post anything: that is no record's worth.
        log(cause, EMAIL_PROVIDER, "link_nonce");
        return Err(refused);
    }
    let key = keys::magic_link(&token.text);
    let Some(link) = app.db().get::<MagicLink>(&key).await? else {
        log(cause, EMAIL_PROVIDER, "link_unknown");
        return Err(refused);
    };
    if link.expires_at <= cause.now {
        let failure = Failure {
            provider: EMAIL_PROVIDER,
            method: Method::MagicLink,
        };
        failure.record(app, cause, "link_expired").await;
        return Err(refused);
    }
    let proven = Proven {
        provider: EMAIL_PROVIDER.into(),
        method: Method::MagicLink,
        subject: None,
        email: token.email.as_str().to_owned(),
        about: About::default(),
    };
    let spent = Spent {
        key,
        cond: Cond::gt("expiresAt", cause.now)?,
    };
    let entered = enter::enter(app, cause, link.plan, (&proven, Some(&spent))).await?;
    Ok(SignedIn::of(entered, link.mode, link.return_to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> LinkToken {
        LinkToken::fresh(Mode::Token, &EmailAddress::parse("ann@example.com").unwrap())
    }

    #[test]
    fn a_token_survives_its_text_form_and_does_not_print_itself() {
        let token = token();
        let read = LinkToken::parse(token.expose()).unwrap();
        assert_eq!(read, token);
        assert_eq!((read.mode, read.email.as_str()), (Mode::Token, "ann@example.com"));
        assert_eq!(format!("{token:?}"), "LinkToken");
    }

    #[test]
    fn text_that_was_never_a_token_is_none() {
        let good = token().expose().to_owned();
        let address = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let secret = "a".repeat(SECRET_LEN);
        for text in [
            "",
            "t.",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}="),
            &format!("t.{secret}.{}", address("Ann@example.com")),
            &format!("t.{secret}.{}", address("no address")),
            &format!("t.{secret}x.{}", address("ann@example.com")),
            &format!("t.{}\u{e9}.{}", &secret[2..], address("ann@example.com")),
        ] {
            assert_eq!(LinkToken::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_nonce_belongs_to_one_browser_and_one_link() {
        let (one, two) = (token(), token());
        assert_eq!(one.nonce("a"), one.nonce("a"));
        assert_ne!(one.nonce("a"), one.nonce("b"));
        assert_ne!(one.nonce("a"), two.nonce("a"));
    }
}
