//! `/api/workspaces`: the workspaces of the caller.

mod settings;

use axum::extract::State;
use camarad::app::App;
use camarad::domain::name::Name;
use camarad::domain::permissions::grant;
use camarad::domain::workspaces::create::NewWorkspace;
use camarad::domain::workspaces::update::WorkspacePatch;
use camarad::domain::workspaces::view::{MemberView, WorkspaceView};
use camarad::domain::workspaces::{self, WorkspaceType};
use camarad::error::{Error, Result};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, Member, Once, Paging};
use camarad::ids::WorkspaceId;
use camarad::reply::Reply;
use camarad::store::Page;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, update, delete))
        .routes(routes!(members))
        .merge(settings::router())
}

/// A new workspace.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateWorkspace {
    /// Its name.
    #[garde(skip)]
    name: Name,
    /// What it is for.
    #[garde(skip)]
    #[serde(rename = "type")]
    kind_of: WorkspaceType,
}

/// What changes; the rest stays.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateWorkspace {
    /// A new name.
    #[garde(skip)]
    name: Option<Name>,
}

/// The caller's workspaces
#[utoipa::path(get, path = "/api/workspaces", tag = "workspaces",
    params(("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<WorkspaceView>), ReadProblems))]
async fn list(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<WorkspaceView>>> {
    Reply::ok(&workspaces::read::list(app.db(), who.user, &page).await?)
}

/// Make a workspace
///
/// The caller owns it and pays for it. Refused with `plan_limit` when the plan has no room for another one.
#[utoipa::path(post, path = "/api/workspaces", tag = "workspaces", request_body = CreateWorkspace,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = WorkspaceView), WriteProblems))]
async fn create(
    State(app): State<App>,
    who: Caller,
    once: Once,
    Body(new): Body<CreateWorkspace>,
) -> Result<Reply<WorkspaceView>> {
    let new = NewWorkspace {
        name: new.name,
        kind_of: new.kind_of,
    };
    once.run(
        &app,
        workspaces::create::create(&app, &who.context, who.user, once.key(), new),
    )
    .await
}

/// One workspace
#[utoipa::path(get, path = "/api/workspaces/{id}", tag = "workspaces", params(("id" = WorkspaceId, Path)),
    responses((status = 200, body = WorkspaceView), ReadProblems))]
async fn read(who: Member<grant::WorkspaceView>) -> Result<Reply<WorkspaceView>> {
    Reply::ok(&WorkspaceView::of(who.workspace, who.role))
}

/// Rename a workspace
#[utoipa::path(patch, path = "/api/workspaces/{id}", tag = "workspaces", request_body = UpdateWorkspace,
    params(("id" = WorkspaceId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = WorkspaceView), WriteProblems))]
async fn update(
    State(app): State<App>,
    who: Member<grant::WorkspaceUpdate>,
    once: Once,
    Body(patch): Body<UpdateWorkspace>,
) -> Result<Reply<WorkspaceView>> {
    let patch = WorkspacePatch { name: patch.name };
    let work = workspaces::update::update(&app, who.context(), &who.workspace, who.role, once.key(), &patch);
    once.run(&app, work).await
}

/// Delete a workspace
///
/// It is invisible at once and its places in the plan's limits are free; a job then removes agents, conversations and
/// memberships. Ledger, usage and audit records stay.
#[utoipa::path(delete, path = "/api/workspaces/{id}", tag = "workspaces",
    params(("id" = WorkspaceId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is deleted."), WriteProblems))]
async fn delete(
    State(app): State<App>,
    who: Result<Member<grant::WorkspaceDelete>>,
    once: Once,
) -> Result<Reply<()>> {
    let who = match who {
        // Judged late, so that a repeated request finds its first answer before the workspace's absence.
        Ok(_) | Err(Error::NotFound) => who,
        Err(error) => return Err(error),
    };
    let work = async {
        let who = who?;
        workspaces::delete::delete(&app, who.context(), &who.workspace, once.key()).await
    };
    Box::pin(once.run(&app, work)).await
}

/// The members of a workspace
#[utoipa::path(get, path = "/api/workspaces/{id}/members", tag = "workspaces",
    params(("id" = WorkspaceId, Path), ("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<MemberView>), ReadProblems))]
async fn members(
    State(app): State<App>,
    who: Member<grant::WorkspaceView>,
    Paging(page): Paging,
) -> Result<Reply<Page<MemberView>>> {
    Reply::ok(&workspaces::read::members(app.db(), who.workspace.id, &page).await?)
}
