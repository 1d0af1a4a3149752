//! What a request asks of a log.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::audit::export::{self, Export, Format, Wanted};
use camarad::domain::audit::filter::Filter;
use camarad::domain::audit::read;
use camarad::domain::audit::view::AuditView;
use camarad::error::{Error, Result};
use camarad::http::Pairs;
use camarad::ids::UserId;
use camarad::reply::Reply;
use camarad::store::record::Scope;
use camarad::store::{Page, PageRequest};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};
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
        let headers = [
            (CONTENT_TYPE, format.media_type().to_owned()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
            // Keeps nginx and its kind from collecting the stream first.
            (HeaderName::from_static("x-accel-buffering"), "no".to_owned()),
        ];
        Ok((headers, streamed(export, cause.request_id.clone())).into_response())
    }
}

/// The export as it is made. A failure breaks the body off: what was sent has no end, so nobody takes it for whole.
fn streamed(export: Export, request_id: String) -> Body {
    Body::from_stream(stream::try_unfold(
        (export, request_id),
        |(mut export, request_id)| async move {
            match export.next().await {
                Ok(Some(piece)) => Ok(Some((piece, (export, request_id)))),
                Ok(None) => Ok(None),
                Err(error) => {
                    tracing::error!(request.id = request_id, error = %error, cause = ?error, "an export broke off");
                    Err(error)
                }
            }
        },
    ))
}
