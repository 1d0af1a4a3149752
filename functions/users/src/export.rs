//! `/api/user/export`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::domain::users::export::{self, Archive, ExportView};
use camarad::error::{Error, Result};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Caller, Fresh, Id, Once};
use camarad::ids::ExportId;
use camarad::reply::Reply;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(request_export))
        .routes(routes!(read_export))
        .routes(routes!(download_export))
}

/// Ask for everything that is kept about you
///
/// Needs a sign-in within the last fifteen minutes. What comes back may be downloaded for a day.
#[utoipa::path(post, path = "/api/user/export", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = ExportView), WriteProblems))]
async fn request_export(State(app): State<App>, who: Fresh, once: Once) -> Result<Reply<ExportView>> {
    let caller = who.caller;
    let work = export::request(&app, &caller.context, caller.user, once.key());
    once.run(&app, work).await
}

/// An export that you asked for
#[utoipa::path(get, path = "/api/user/export/{id}", tag = "users", params(("id" = ExportId, Path)),
    responses((status = 200, body = ExportView), ReadProblems))]
async fn read_export(State(app): State<App>, who: Caller, Id(id): Id<ExportId>) -> Result<Reply<ExportView>> {
    let export = export::read(&app, (who.user, id), who.context.now).await?;
    Reply::ok(&ExportView::from(&export))
}

/// Download everything that is kept about you
///
/// Needs a sign-in within the last fifteen minutes. NDJSON: `{"kind", "item"}` in each line, first a `manifest`, at last an
/// `end` with the number of lines by kind and SHA-256 of every byte before it. A download without that line is not whole.
#[utoipa::path(get, path = "/api/user/export/{id}/download", tag = "users", params(("id" = ExportId, Path)),
    responses((status = 200, body = String, content_type = "application/x-ndjson"), ReadProblems))]
async fn download_export(State(app): State<App>, who: Fresh, Id(id): Id<ExportId>) -> Result<Response> {
    let caller = who.caller;
    let archive = export::download(&app, &caller.context, (caller.user, id)).await?;
    let name = format!("attachment; filename=\"{}\"", archive.file_name);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (
            CONTENT_DISPOSITION,
            HeaderValue::from_str(&name).map_err(Error::internal)?,
        ),
    ];
    Ok((headers, body(archive)).into_response())
}

/// An archive as a body: an error ends it in the middle, where its reader sees that it is not whole.
fn body(archive: Archive) -> Body {
    Body::from_stream(futures_util::stream::unfold(archive, |mut archive| async {
        archive.next().await.map(|piece| (piece, archive))
    }))
}
