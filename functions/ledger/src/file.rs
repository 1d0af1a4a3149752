//! An export as the body of an answer.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::ledger::export::{self, Export, MEDIA_TYPE};
use camarad::error::Result;
use camarad::ids::UserId;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};

/// Begins an export and answers it as it is made.
pub(crate) async fn answer(app: &App, cause: &Context, (user, after): (UserId, u64)) -> Result<Response> {
    let export = export::begin(app, cause, (user, after)).await?;
    let headers = [
        (CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"ledger-{user}-{after}.ndjson\""),
        ),
        // Keeps nginx and its kind from collecting the stream first.
        (HeaderName::from_static("x-accel-buffering"), "no".to_owned()),
    ];
    Ok((headers, streamed(export, cause.request_id.clone())).into_response())
}

/// A failure breaks the body off: what was sent has no last line, so nobody takes it for whole.
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
