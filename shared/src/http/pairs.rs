//! Query parameters of which one may come several times.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::app::App;
use crate::error::{Error, Result};

/// All query parameters, in their order.
#[derive(Debug, Clone, Default)]
pub struct Pairs(pub Vec<(String, String)>);

impl Pairs {
    /// Takes a parameter out, which may come once.
    ///
    /// # Errors
    /// `Invalid` when it comes twice.
    pub fn take(&mut self, name: &str) -> Result<Option<String>> {
        let (mut found, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(n, _)| n == name);
        self.0 = others;
        if found.len() > 1 {
            return Err(Error::field(format!("query.{name}"), "may appear once"));
        }
        Ok(found.pop().map(|(_, value)| value))
    }

    /// Refuses what nobody has taken.
    ///
    /// # Errors
    /// `Invalid`, naming the first that is left.
    pub fn end(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                Err(Error::field(format!("query.{name}"), "is not known here"))
            }
        }
    }
}

impl FromRequestParts<App> for Pairs {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Ok(Self(
            pairs.map(|(n, v)| (n.into_owned(), v.into_owned())).collect(),
        ))
    }
}
