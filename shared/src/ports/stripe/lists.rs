//! Lists of Stripe's, read to their ends: what is missing in one is missing in an account.

use serde::Serialize;
use serde::de::DeserializeOwned;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};

use super::answers::{Line, List};
use super::{InvoiceFacts, StripeApi};
use crate::error::{Error, Result};

/// The most that Stripe lists at once.
pub(super) const PAGE: i64 = 100;

/// How many pages of a list are read that should have one.
const PAGES: usize = 50;

/// Which objects of a list are asked for, where the crates have no request for it, or only with much else.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Which<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payment_intent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invoice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) active: Option<bool>,
}

/// A page of such a list.
#[derive(Debug)]
struct Asked<'a> {
    path: &'a str,
    which: Which<'a>,
    after: Option<String>,
}

impl StripeRequest for Asked<'_> {
    type Output = ();

    fn build(&self) -> RequestBuilder {
        #[derive(Serialize)]
        struct Query<'a> {
            #[serde(flatten)]
            which: &'a Which<'a>,
            limit: i64,
            #[serde(skip_serializing_if = "Option::is_none")]
            starting_after: Option<&'a str>,
        }
        RequestBuilder::new(StripeMethod::Get, self.path).query(&Query {
            which: &self.which,
            limit: PAGE,
            starting_after: self.after.as_deref(),
        })
    }
}

impl StripeApi {
    /// All pages of a list; the next begins after the last id.
    pub(super) async fn whole<T: DeserializeOwned, R: StripeRequest>(
        &self,
        request: impl Fn(Option<&str>) -> R,
        id: impl Fn(&T) -> &String,
    ) -> Result<Vec<T>> {
        let mut found: Vec<T> = Vec::new();
        for _ in 0..PAGES {
            let after = found.last().map(&id).cloned();
            let built = request(after.as_deref()).build();
            let list: List<T> = self.send(&built, None).await?;
            let more = list.has_more && !list.data.is_empty();
            found.extend(list.data);
            if !more {
                return Ok(found);
            }
        }
        Err(Error::internal("a list of Stripe's does not end"))
    }

    /// The same for a list that the crates have no request for.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        which: Which<'_>,
        id: impl Fn(&T) -> &String,
    ) -> Result<Vec<T>> {
        let request = |after: Option<&str>| Asked {
            path,
            which: which.clone(),
            after: after.map(str::to_owned),
        };
        self.whole(request, id).await
    }

    /// An invoice shows ten lines; whoever changes plans more often within a period has more.
    pub(super) async fn all_lines(&self, mut invoice: InvoiceFacts) -> Result<InvoiceFacts> {
        let path = format!("/invoices/{}/lines", invoice.id);
        let lines = self.all(&path, Which::default(), |line: &Line| &line.id).await?;
        invoice.lines = lines.into_iter().map(Line::facts).collect::<Result<_>>()?;
        Ok(invoice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_by_names_and_values() {
        let query = |which, after: Option<&str>| {
            let after = after.map(str::to_owned);
            let path = "/disputes";
            Asked { path, which, after }.build().query
        };
        assert_eq!(query(Which::default(), None).as_deref(), Some("limit=100"));
        let of = Which {
            payment_intent: Some("pi_1"),
            active: Some(true),
            ..Which::default()
        };
        assert_eq!(
            query(of, Some("dp_1")).as_deref(),
            Some("payment_intent=pi_1&active=true&limit=100&starting_after=dp_1")
        );
    }
}
