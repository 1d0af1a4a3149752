//! `/api/workspaces/{id}/settings`.

use axum::extract::State;
use axum::response::Response;
use camarad::app::App;
use camarad::domain::permissions::grant;
use camarad::domain::workspaces::settings::{self, SettingsPatch, SettingsView};
use camarad::error::Result;
use camarad::http::precondition::{Tagged, tagged};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, IfMatch, IfNoneMatch, Member, Once};
use camarad::ids::WorkspaceId;
use camarad::reply::Reply;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_settings, update_settings))
}

/// A workspace's settings
#[utoipa::path(get, path = "/api/workspaces/{id}/settings", tag = "workspaces",
    params(("id" = WorkspaceId, Path), ("If-None-Match" = Option<String>, Header, description = "an ETag of the settings")),
    responses((status = 200, body = SettingsView, headers(("ETag" = String, description = "the version"))),
        (status = 304, description = "You have this version."), ReadProblems))]
async fn read_settings(who: Member<grant::WorkspaceView>, known: IfNoneMatch) -> Result<Response> {
    let view = SettingsView::from(&who.workspace);
    known.answer(view.version, Reply::ok(&view)?)
}

/// Change a workspace's settings
///
/// A JSON merge patch: what is absent stays, `null` sets the default again. Only if nobody changed the workspace
/// since the ETag in If-Match.
#[utoipa::path(patch, path = "/api/workspaces/{id}/settings", tag = "workspaces",
    request_body(content((SettingsPatch = "application/merge-patch+json"), (SettingsPatch = "application/json"))),
    params(("id" = WorkspaceId, Path), ("If-Match" = String, Header, description = "an ETag of the settings; `*` overwrites whatever is there"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = SettingsView, headers(("ETag" = String, description = "the version"))),
        (status = 412, description = "The workspace has changed since.", body = camarad::http::problem::Problem, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing.", body = camarad::http::problem::Problem, content_type = "application/problem+json"),
        WriteProblems))]
async fn update_settings(
    State(app): State<App>,
    who: Member<grant::SettingsManage>,
    once: Once,
    expected: IfMatch,
    Body(patch): Body<SettingsPatch>,
) -> Result<Tagged<SettingsView>> {
    let subject = (&who.workspace, expected.versions());
    let work = settings::update(&app, who.context(), subject, once.key(), &patch);
    let reply = once.run(&app, work).await?;
    tagged(reply.value()?.version, reply)
}
