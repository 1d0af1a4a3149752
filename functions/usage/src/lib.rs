//! `/api/usage`: what a workspace's AI calls used.

mod file;
pub mod parameters;

use axum::extract::State;
use axum::response::Response;
use camarad::app::App;
use camarad::domain::permissions::grant;
use camarad::domain::usage::breakdown::{self, BreakdownView};
use camarad::domain::usage::event::{self, UsageEventView};
use camarad::domain::usage::record::{self, RecordedEvents};
use camarad::domain::usage::stats::{self, StatsView};
use camarad::error::Result;
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Events, Member, OneOrOwned, Paging, Query, Service};
use camarad::ids::WorkspaceId;
use camarad::reply::Reply;
use camarad::store::Page;
use http::Method;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use parameters::{BreakdownParameters, ExportParameters, StatsParameters, UsageCloudEvent};

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(stats))
        .routes(routes!(breakdown))
        .routes(routes!(export))
        .routes(routes!(record))
}

/// Which of them stream, as template.yaml tells API Gateway.
pub fn streams(method: &Method, path: &str) -> bool {
    *method == Method::GET && path.ends_with("/export")
}

/// The calls of a workspace, newest first
#[utoipa::path(get, path = "/api/usage", tag = "usage",
    params(("workspaceId" = WorkspaceId, Query), ("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<UsageEventView>), ReadProblems))]
async fn list(
    State(app): State<App>,
    who: Member<grant::WorkspaceView>,
    Paging(page): Paging,
) -> Result<Reply<Page<UsageEventView>>> {
    Reply::ok(&event::list(app.db(), who.workspace.id, &page).await?)
}

/// Sums over time, shaped for charts
///
/// Of one workspace; without `workspaceId`, of all workspaces that the caller owns (up to 100), added up. Every bucket of
/// the span is there, the empty ones too. Buckets follow the calendar of the time zone: a day has 23 to 25 hours where
/// clocks change. Without `from` and `to`: the last 24 hours, 30 days or 12 months.
#[utoipa::path(get, path = "/api/usage/stats", tag = "usage",
    params(StatsParameters), responses((status = 200, body = StatsView), ReadProblems))]
async fn stats(
    State(app): State<App>,
    who: OneOrOwned<grant::WorkspaceView>,
    Query(asked): Query<StatsParameters>,
) -> Result<Reply<StatsView>> {
    let query = asked.query(&who.profile)?;
    let workspaces: Vec<_> = who.workspaces.iter().map(|w| w.id).collect();
    Reply::ok(&stats::stats(app.db(), &workspaces, &query, who.caller.context.now).await?)
}

/// Who used how much
///
/// By agent, model, member or workspace, the most expensive first, with shares that add up to exactly 100 percent (the
/// largest remainder method). Of one workspace; without `workspaceId`, of all workspaces that the caller owns (up to 100)
/// together. In whole days of the time zone; without `from` and `to`, the last 30.
#[utoipa::path(get, path = "/api/usage/breakdown", tag = "usage",
    params(BreakdownParameters), responses((status = 200, body = BreakdownView), ReadProblems))]
async fn breakdown(
    State(app): State<App>,
    who: OneOrOwned<grant::WorkspaceView>,
    Query(asked): Query<BreakdownParameters>,
) -> Result<Reply<BreakdownView>> {
    let (query, now) = (asked.query(&who.profile)?, who.caller.context.now);
    Reply::ok(&breakdown::breakdown(app.db(), &who.workspaces, &query, now).await?)
}

/// Bring usage events of a service
///
/// CloudEvents 1.0 in structured mode, one or up to 100. Each is checked by itself: one that is wrong does not stop the
/// others. What is accepted goes through the queue like all other usage, and is counted once by its source and id, however
/// often it is sent: an Idempotency-Key is not needed. Events up to 90 days old are counted in the buckets of their own time;
/// at most five minutes may lie ahead. For API keys of Camarad's operators.
#[utoipa::path(post, path = "/api/usage/record", tag = "usage",
    request_body(content((UsageCloudEvent = "application/cloudevents+json"), (Vec<UsageCloudEvent> = "application/cloudevents-batch+json"))),
    responses((status = 202, body = RecordedEvents), WriteProblems))]
async fn record(
    State(app): State<App>,
    Service(_): Service,
    events: Events,
) -> Result<Reply<RecordedEvents>> {
    let done = match events {
        Events::One(event) => record::one(&app, event).await?,
        Events::Many(events) => record::many(&app, events).await?,
    };
    Reply::accepted(&done)
}

/// The calls of a workspace as a file
///
/// CSV, oldest first; of one workspace, whose log records it as `data.exported`. Its last row begins with `end` and has the number of rows and the SHA-256 of all before it: a file
/// without it was cut. To go on, ask with `from` = the moment and `after` = the call of the last whole row.
#[utoipa::path(get, path = "/api/usage/export", tag = "usage",
    params(ExportParameters), responses((status = 200, content((String = "text/csv"))), ReadProblems))]
async fn export(
    State(app): State<App>,
    who: Member<grant::WorkspaceView>,
    Query(asked): Query<ExportParameters>,
) -> Result<Response> {
    let wanted = asked.wanted(who.workspace.id);
    file::answer(&app, who.context(), (who.caller.user, wanted)).await
}
