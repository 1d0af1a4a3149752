//! An export as the body of an answer.

use axum::response::Response;
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::ledger::export::{self, MEDIA_TYPE};
use camarad::error::Result;
use camarad::http::file::file;
use camarad::ids::UserId;

/// Begins an export and answers it as it is made.
pub(crate) async fn answer(app: &App, cause: &Context, (user, after): (UserId, u64)) -> Result<Response> {
    let export = export::begin(app, cause, (user, after)).await?;
    let name = format!("ledger-{user}-{after}.ndjson");
    Ok(file(&name, MEDIA_TYPE, export, &cause.request_id))
}
