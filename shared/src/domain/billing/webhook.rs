//! Whether a webhook comes from Stripe.

use jiff::Timestamp;

use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ports::secrets::{CACHE_LIFE, REFETCH};
use crate::ports::stripe::Keys;
use crate::ports::stripe::signature::{self, Unsigned};

/// Checks the signature; when it fits no secret that we know, once more with the secrets as they are now.
///
/// # Errors
/// `Unauthenticated`; why, is in the log only.
pub async fn check(app: &App, header: &str, body: &[u8], now: Timestamp) -> Result<()> {
    let name = Config::need(&app.config().stripe_secret, "STRIPE_SECRET")?;
    let mut unsigned = Unsigned::Forged;
    for age in [CACHE_LIFE, REFETCH] {
        let keys = Keys::parse(&app.secrets()?.younger_than(name, age).await?)?;
        match signature::check(header, body, &keys.webhook_secrets, now) {
            Ok(()) => return Ok(()),
            Err(reason) => unsigned = reason,
        }
        if unsigned != Unsigned::Forged {
            break;
        }
    }
    tracing::warn!(error = %unsigned, "a webhook was refused");
    Err(Error::Unauthenticated("the webhook is not signed by Stripe"))
}
