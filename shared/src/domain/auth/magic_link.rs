//! Signing in with a link that is mailed.
//!
//! Asking for one looks nothing up: whether the address has an account shows neither in the answer nor in its time, and
//! is only found out when the link is used. The table holds the hash of the link's token and no address: that is in the
//! token. Opening the link changes nothing, so a scanner that fetches it neither signs in nor uses it up; only the page's
//! form does, in the browser that has seen the page: its nonce belongs to a cookie of that browser and to the token.
//!
//! A link that somebody asks for who is signed in, to prove once more who they are, makes that session fresh and no new
//! one; and only in the browser that asked, so that nobody confirms a session that is not theirs.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::attempt::{InSession, Mode, Wish};
use super::enter::{self, Spent};
use super::proven::{About, Address, Method, Proven};
use super::return_to::ReturnTo;
use super::sign_in::{Failure, Finished, SignedIn, log};
use super::step_up;
use crate::app::App;
use crate::config::EMAIL_PROVIDER;
use crate::context::Context;
use crate::domain::mail::{self, Letter, Order};
use crate::domain::users::User;
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

/// Marks the link of a step-up, for its page.
const AGAIN: &str = "again.";

/// What a link says: `<mode>.<secret>.<address>`, the address in base64url; `<mode>.again.…` for a step-up.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkToken {
    text: String,
    /// Who would get the tokens.
    pub mode: Mode,
    /// Whether it says that it is for somebody who is signed in.
    pub step_up: bool,
    /// Whose link it says that it is.
    pub email: EmailAddress,
}

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkToken")
    }
}

impl LinkToken {
    fn fresh(mode: Mode, step_up: bool, email: &EmailAddress) -> Self {
        let address = BASE64URL_NOPAD.encode(email.as_str().as_bytes());
        let mark = if step_up { AGAIN } else { "" };
        Self {
            text: format!("{}{mark}{}.{address}", mode.prefix(), random::secret()),
            mode,
            step_up,
            email: email.clone(),
        }
    }

    /// Reads a token; `None` for text that was never one. Nothing is looked up.
    pub fn parse(text: &str) -> Option<Self> {
        let mode = Mode::of_state(text);
        let rest = text.strip_prefix(mode.prefix())?;
        let marked = rest.strip_prefix(AGAIN);
        let (secret, address) = marked.unwrap_or(rest).split_once('.')?;
        let base64url = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if secret.len() != SECRET_LEN || !secret.bytes().all(base64url) {
            return None;
        }
        let address = String::from_utf8(BASE64URL_NOPAD.decode(address.as_bytes()).ok()?).ok()?;
        let email = EmailAddress::parse(&address).filter(|e| e.as_str() == address)?;
        Some(Self {
            text: text.to_owned(),
            mode,
            step_up: marked.is_some(),
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
    return_to: ReturnTo,
    mode: Mode,
    /// Whose session it makes fresh, and SHA-256 of a cookie of the browser that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_up: Option<(InSession, String)>,
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
    mail_one(app, cause, email, (wish, None)).await
}

/// Mails a link that makes the session fresh that asks, in the browser that has `binding` as a cookie.
///
/// # Errors
/// `Invalid` where no mail is sent, or none to this address; `Unavailable` when table or queue does not answer.
pub(super) async fn ask_again(
    app: &App,
    cause: &Context,
    (user, own): (&User, InSession),
    (binding, wish): (&str, Wish),
) -> Result<()> {
    let email =
        reached(app, user).ok_or_else(|| Error::field("with", "is no way here: no mail can be sent"))?;
    mail_one(app, cause, &email, (wish, Some((own, keys::digest(binding))))).await
}

/// The address that a person's links go to; `None` where no mail is sent, or none to an address like theirs, as accounts
/// from before addresses were held to what mail can reach may have.
pub(super) fn reached(app: &App, user: &User) -> Option<EmailAddress> {
    app.config().mail_from.as_ref()?;
    EmailAddress::parse(&user.email).filter(|e| e.as_str() == user.email)
}

async fn mail_one(
    app: &App,
    cause: &Context,
    email: &EmailAddress,
    (wish, step_up): (Wish, Option<(InSession, String)>),
) -> Result<()> {
    let token = LinkToken::fresh(wish.mode, step_up.is_some(), email);
    let expires_at = cause.now.checked_add(LINK_LIFE).map_err(Error::internal)?;
    let link = MagicLink {
        token: token.text.clone(),
        return_to: wish.return_to,
        mode: wish.mode,
        step_up,
        expires_at,
    };
    app.db().put(&link, None).await?;
    let page = format!("{}/api/auth/magic-link/verify", app.config().public_url);
    let address = format!("{page}?token={}", token.text);
    let minutes = u32::try_from(LINK_LIFE.as_mins()).unwrap_or_default();
    let order = Order {
        id: EventId::new(app.clock()),
        to: email.as_str().to_owned(),
        letter: if token.step_up {
            Letter::StepUp {
                link: address,
                minutes,
            }
        } else {
            Letter::MagicLink {
                link: address,
                minutes,
            }
        },
        expires_at,
    };
    mail::order(app, &order).await
}

/// Signs in with a link: the person whose address it was mailed to, or a new one; or makes the session fresh that asked
/// for it. `binding` is the browser's cookie, `nonce` what the page gave it.
///
/// # Errors
/// `SignIn`, whatever is wrong with token or nonce; a link is used up by the sign-in alone. `Unauthenticated` when the
/// session that asked has ended.
pub async fn redeem(
    app: &App,
    cause: &Context,
    token: &LinkToken,
    (binding, nonce): (Option<&str>, &str),
) -> Result<Finished> {
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
    let asked = link.step_up.as_ref();
    let failure = Failure {
        provider: EMAIL_PROVIDER,
        method: Method::MagicLink,
        step_up: asked.map(|(own, _)| *own),
    };
    if link.expires_at <= cause.now {
        failure.record(app, cause, "link_expired").await;
        return Err(refused);
    }
    let here = binding.map(keys::digest);
    if asked.is_some_and(|(_, asker)| here.as_ref() != Some(asker)) {
        failure.record(app, cause, "link_browser").await;
        return Err(refused);
    }
    let proven = Proven {
        provider: EMAIL_PROVIDER.into(),
        method: Method::MagicLink,
        subject: None,
        address: Address::Proven(token.email.as_str().to_owned()),
        about: About::default(),
    };
    let spent = Spent {
        key,
        cond: Cond::gt("expiresAt", cause.now)?,
    };
    let (mode, return_to) = (link.mode, link.return_to);
    if let Some((own, _)) = link.step_up {
        let session = step_up::conclude(app, cause, own, (&proven, Some(&spent))).await?;
        return Ok(Finished::SteppedUp {
            session: Box::new(session),
            mode,
            return_to,
        });
    }
    let entered = enter::enter(app, cause, (&proven, Some(&spent))).await?;
    let signed_in = SignedIn::of(entered, mode, return_to);
    Ok(Finished::SignedIn(Box::new(signed_in)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> LinkToken {
        LinkToken::fresh(
            Mode::Token,
            false,
            &EmailAddress::parse("ann@example.com").unwrap(),
        )
    }

    #[test]
    fn a_token_survives_its_text_form_and_does_not_print_itself() {
        let token = token();
        let read = LinkToken::parse(token.expose()).unwrap();
        assert_eq!(read, token);
        assert_eq!((read.mode, read.email.as_str()), (Mode::Token, "ann@example.com"));
        assert_eq!(format!("{token:?}"), "LinkToken");
        let again = LinkToken::fresh(Mode::Browser, true, &token.email);
        assert_eq!(LinkToken::parse(again.expose()), Some(again.clone()));
        assert!(again.step_up && !token.step_up);
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
