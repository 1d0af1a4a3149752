//! Mails: asked for through a queue, sent once.
//!
//! A message of the queue may come twice, so each mail is claimed in the table before it is sent, under its own id and
//! without anything of its text. A claim whose sender died is taken over when its lease is over: then, and only then,
//! a mail may go out twice.

mod letter;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::EventId;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Entity, Update};

/// How long a sender has; longer than the function's own time.
const LEASE: SignedDuration = SignedDuration::from_secs(30);

/// How long it is remembered that a mail was sent: as long as the queue may repeat it.
const MEMORY: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A mail that is to be sent, as the queue carries it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id, by which it is sent once.
    pub id: EventId,
    /// To whom.
    pub to: String,
    /// What.
    #[serde(flatten)]
    pub letter: Letter,
    /// From when on there is no use in it.
    pub expires_at: Timestamp,
}

/// What a mail says. It does not print itself, as links are secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "letter")]
pub enum Letter {
    /// The link that signs in.
    #[serde(rename_all = "camelCase")]
    MagicLink {
        /// The link.
        link: String,
        /// Minutes that it works.
        minutes: u32,
    },
    /// The link that makes a session fresh.
    #[serde(rename_all = "camelCase")]
    StepUp {
        /// The link.
        link: String,
        /// Minutes that it works.
        minutes: u32,
    },
    /// That somebody guesses at the second factor.
    Guessed,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Order({})", self.id)
    }
}

/// That a mail is being sent, or was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sending {
    id: EventId,
    /// Until when its sender may be at work.
    leased_until: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<Timestamp>,
    expires_at: Timestamp,
}

impl Entity for Sending {
    const KIND: &'static str = "mail";
    fn key(&self) -> Key {
        keys::mail(self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}

/// Asks for a mail.
///
/// # Errors
/// `Unavailable` when the queue does not take it.
pub async fn order(app: &App, order: &Order) -> Result<()> {
    let url = Config::need(&app.config().mail_queue_url, "MAIL_QUEUE_URL")?;
    let body = serde_json::to_string(order).map_err(Error::internal)?;
    match app.queue()?.send(url, &[body]).await?.as_slice() {
        [] => Ok(()),
        _ => Err(Error::Unavailable("the mail queue refused a message".into())),
    }
}

/// Sends the mails that these messages of the queue order, and answers the places of those that must come again, or end
/// in the dead-letter queue when they never can be sent. Each failure is logged.
pub async fn deliver(app: &App, messages: &[&str]) -> Vec<usize> {
    let mut failed = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        if let Err(error) = deliver_one(app, message).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(error = %error, error.cause = cause, place, "a mail was not sent");
            failed.push(place);
        }
    }
    failed
}

/// Sends a mail, unless it was sent, or there is no use in it any more.
async fn deliver_one(app: &App, message: &str) -> Result<()> {
    let order: Order = serde_json::from_str(message).map_err(|e| Error::field("message", e.to_string()))?;
    let from = Config::need(&app.config().mail_from, "MAIL_FROM")?;
    let now = app.clock().now();
    if now >= order.expires_at {
        tracing::warn!(mail.id = %order.id, "a mail came too late to be of use");
        return Ok(());
    }
    if !claim(app, order.id, now).await? {
        return Ok(());
    }
    let mail = order.letter.written(from, &order.to);
    match app.mail()?.send(&mail).await {
        Ok(()) => {
            // A claim that stays unsettled is taken over later; but this message is done with.
            let sent = Update::of(keys::mail(order.id)).set("sentAt", app.clock().now())?;
            if let Err(error) = app.db().update(&sent).await {
                tracing::warn!(mail.id = %order.id, error = %error, "a sent mail could not be marked");
            }
            Ok(())
        }
        Err(error) => {
            let ours = Cond::eq("leasedUntil", lease(now)?)?;
            app.db().take(&keys::mail(order.id), &ours).await?;
            Err(error)
        }
    }
}

fn lease(now: Timestamp) -> Result<Timestamp> {
    now.checked_add(LEASE).map_err(Error::internal)
}

/// Whether this mail is now ours to send; false when it was sent.
///
/// # Errors
/// `Unavailable` while another sender is at it.
async fn claim(app: &App, id: EventId, now: Timestamp) -> Result<bool> {
    let claim = Sending {
        id,
        leased_until: lease(now)?,
        sent_at: None,
        expires_at: now.checked_add(MEMORY).map_err(Error::internal)?,
    };
    let left = Cond::absent("sentAt").and(Cond::le("leasedUntil", now)?);
    if app.db().put(&claim, Some(&Cond::item_absent().or(left))).await? {
        return Ok(true);
    }
    match app.db().get::<Sending>(&keys::mail(id)).await? {
        Some(sending) if sending.sent_at.is_some() => Ok(false),
        _ => Err(Error::Unavailable("another sender is at this mail".into())),
    }
}
