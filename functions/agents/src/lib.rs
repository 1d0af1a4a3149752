//! `/api/agent-presets`, `/api/workspaces/{id}/agents`, `/api/agents/{id}`: agents and what they are made from.

use axum::extract::State;
use axum::response::IntoResponse;
use camarad::app::App;
use camarad::domain::agents;
use camarad::domain::agents::create::{MAX_AT_ONCE, NewAgents};
use camarad::domain::agents::presets::PresetDomain;
use camarad::domain::agents::update::AgentPatch;
use camarad::domain::agents::view::{AgentView, PresetView};
use camarad::domain::name::Name;
use camarad::domain::permissions::grant;
use camarad::error::Result;
use camarad::http::problem::{PublicProblems, ReadProblems, WriteProblems};
use camarad::http::{AgentMember, Body, Member, Once, Paging, Query};
use camarad::ids::{AgentId, WorkspaceId};
use camarad::reply::Reply;
use camarad::store::Page;
use serde::{Deserialize, Deserializer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(presets))
        .routes(routes!(list, create))
        .routes(routes!(read, update, delete))
}

#[derive(Debug, Deserialize, garde::Validate)]
#[serde(deny_unknown_fields)]
struct PresetQuery {
    #[garde(skip)]
    domain: Option<PresetDomain>,
}

/// Which agents to make.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateAgents {
    /// One agent is made per id; a preset may appear more than once.
    #[garde(length(min = 1, max = MAX_AT_ONCE))]
    #[schema(min_items = 1, max_items = 20)]
    preset_ids: Vec<String>,
    /// Whether they answer at once.
    #[garde(skip)]
    #[serde(default = "yes")]
    active: bool,
}

fn yes() -> bool {
    true
}

/// What changes; the rest stays.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateAgent {
    /// A new name.
    #[garde(skip)]
    name: Option<Name>,
    /// Whether it answers.
    #[garde(skip)]
    active: Option<bool>,
    /// The model it asks for; `null` goes back to the default one.
    #[garde(skip)]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    model: Option<Option<String>>,
}

/// Tells `null` from absent.
fn present<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// What agents can be made from
#[utoipa::path(get, path = "/api/agent-presets", tag = "agents",
    params(("domain" = Option<PresetDomain>, Query, description = "of this domain only")),
    responses((status = 200, body = Page<PresetView>), PublicProblems))]
async fn presets(Query(query): Query<PresetQuery>) -> Result<impl IntoResponse> {
    let page = Reply::ok(&agents::view::list_presets(query.domain))?;
    Ok(([("cache-control", "public, max-age=3600")], page))
}

/// The agents of a workspace
#[utoipa::path(get, path = "/api/workspaces/{id}/agents", tag = "agents",
    params(("id" = WorkspaceId, Path), ("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<AgentView>), ReadProblems))]
async fn list(
    State(app): State<App>,
    who: Member<grant::WorkspaceView>,
    Paging(page): Paging,
) -> Result<Reply<Page<AgentView>>> {
    Reply::ok(&agents::read::list(app.db(), who.workspace.id, &page).await?)
}

/// Make agents from presets
///
/// All of them or none. Refused with `plan_limit` beyond the plan's agents or ten active ones in the workspace.
#[utoipa::path(post, path = "/api/workspaces/{id}/agents", tag = "agents", request_body = CreateAgents,
    params(("id" = WorkspaceId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Page<AgentView>), WriteProblems))]
async fn create(
    State(app): State<App>,
    who: Member<grant::AgentsManage>,
    once: Once,
    Body(new): Body<CreateAgents>,
) -> Result<Reply<Page<AgentView>>> {
    let new = NewAgents::parse(&new.preset_ids, new.active)?;
    once.run(
        &app,
        agents::create::create(&app, who.context(), &who.workspace, once.key(), &new),
    )
    .await
}

/// One agent
#[utoipa::path(get, path = "/api/agents/{id}", tag = "agents", params(("id" = AgentId, Path)),
    responses((status = 200, body = AgentView), ReadProblems))]
async fn read(who: AgentMember<grant::WorkspaceView>) -> Result<Reply<AgentView>> {
    Reply::ok(&who.agent()?.clone().into())
}

/// Rename an agent, activate or deactivate it, choose its model
#[utoipa::path(patch, path = "/api/agents/{id}", tag = "agents", request_body = UpdateAgent,
    params(("id" = AgentId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = AgentView), WriteProblems))]
async fn update(
    State(app): State<App>,
    who: AgentMember<grant::AgentsManage>,
    once: Once,
    Body(patch): Body<UpdateAgent>,
) -> Result<Reply<AgentView>> {
    let patch = AgentPatch {
        name: patch.name,
        active: patch.active,
        model: patch.model,
    };
    let work = async {
        let workspace = &who.member.workspace;
        agents::update::update(&app, who.context(), workspace, who.agent()?, once.key(), &patch).await
    };
    once.run(&app, work).await
}

/// Delete an agent
///
/// Its place in the limits is free at once; a job then removes its conversations. Receipts, ledger and usage stay.
#[utoipa::path(delete, path = "/api/agents/{id}", tag = "agents",
    params(("id" = AgentId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is deleted."), WriteProblems))]
async fn delete(
    State(app): State<App>,
    who: AgentMember<grant::AgentsManage>,
    once: Once,
) -> Result<Reply<()>> {
    let work = async {
        let workspace = &who.member.workspace;
        agents::delete::delete(&app, who.context(), workspace, who.agent()?, once.key()).await
    };
    once.run(&app, work).await
}
