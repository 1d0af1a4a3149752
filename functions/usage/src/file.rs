//! An export as the body of an answer.

use axum::response::Response;
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::usage::export::{self, MEDIA_TYPE, Wanted};
use camarad::error::Result;
use camarad::http::file::file;
use camarad::ids::UserId;

/// Begins an export and answers it as it is made.
pub(crate) async fn answer(app: &App, cause: &Context, (user, wanted): (UserId, Wanted)) -> Result<Response> {
    let name = format!("usage-{}.csv", wanted.workspace);
    let export = export::begin(app, cause, (user, wanted)).await?;
    Ok(file(&name, MEDIA_TYPE, export, &cause.request_id))
}
