//! What a request asks of a log.

use axum::extract::FromRequestParts;
use axum::response::Response;
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::audit::export::{self, Format, Wanted};
use camarad::domain::audit::filter::Filter;
use camarad::domain::audit::read;
use camarad::domain::audit::view::AuditView;
use camarad::error::{Error, Result};
use camarad::http::Pairs;
use camarad::http::file::file;
use camarad::ids::UserId;
use camarad::reply::Reply;
use camarad::store::record::Scope;
use camarad::store::{Page, PageRequest};
use http::request::Parts;

/// The query of a list or an export.
pub(crate) struct Asked {
    filter: Filter,
    pairs: Pairs,
}

impl FromRequestParts<App> for Asked {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let Pairs(pairs) = Pairs::from_request_parts(parts, app).await?;
        let (filter, rest) = Filter::parse(pairs)?;
        Ok(Self {
            filter,
            pairs: Pairs(rest),
        })
    }
}

impl Asked {
    /// The scope that an operator names; the platform's unless told.
    pub(crate) fn scope(&mut self) -> Result<Scope> {
        match self.pairs.take("scope")? {
            None => Ok(Scope::Platform),
            Some(name) => Scope::parse(&name).ok_or_else(|| {
                Error::field(
                    "query.scope",
                    "must be platform, or the id of a workspace or a person",
                )
            }),
        }
    }

    /// One page of the log.
    pub(crate) async fn list(mut self, app: &App, scope: Scope) -> Result<Reply<Page<AuditView>>> {
        let (limit, cursor) = (self.pairs.take("limit")?, self.pairs.take("cursor")?);
        self.pairs.end()?;
        let page = PageRequest::parse(limit.as_deref(), cursor.as_deref())?;
        Reply::ok(&read::list(app, &scope.name(), &self.filter, &page).await?)
    }

    /// The log as a file.
    pub(crate) async fn export(
        mut self,
        app: &App,
        cause: &Context,
        (user, scope): (UserId, Scope),
    ) -> Result<Response> {
        let format = self.pairs.take("format")?;
        self.pairs.end()?;
        let format = Format::parse(format.as_deref().unwrap_or("ndjson"))
            .ok_or_else(|| Error::field("query.format", "must be ndjson or csv"))?;
        let wanted = Wanted {
            scope,
            filter: self.filter,
            format,
        };
        let export = export::begin(app, cause, (user, wanted)).await?;
        let name = format!("audit-{}.{}", scope.name(), format.as_str());
        Ok(file(&name, format.media_type(), export, &cause.request_id))
    }
}
