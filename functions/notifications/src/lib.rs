//! `/api/notifications`: what the caller was told.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::notifications::{self, NotificationView};
use camarad::error::Result;
use camarad::http::problem::ReadProblems;
use camarad::http::{Caller, Paging};
use camarad::reply::Reply;
use camarad::store::Page;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What the caller was told, newest first
///
/// Notices of the last 90 days, each once, of the types whose channel `inApp` was on when they came.
#[utoipa::path(get, path = "/api/notifications", tag = "notifications",
    params(("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<NotificationView>), ReadProblems))]
async fn list(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<NotificationView>>> {
    Reply::ok(&notifications::list(&app, who.user, &page).await?)
}
