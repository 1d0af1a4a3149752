//! `/api/usage`: what a workspace's AI calls used.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::permissions::grant;
use camarad::domain::usage::event::{self, UsageEventView};
use camarad::domain::usage::stats::{self, StatsQuery, StatsView};
use camarad::domain::usage::{Bucket, Dimension};
use camarad::error::Result;
use camarad::http::problem::ReadProblems;
use camarad::http::{Member, Paging, Query};
use camarad::ids::WorkspaceId;
use camarad::reply::Reply;
use camarad::store::Page;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(stats))
}

#[derive(Debug, Deserialize, garde::Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatsParameters {
    /// Read by `Member`.
    #[garde(skip)]
    #[serde(rename = "workspaceId")]
    _workspace_id: WorkspaceId,
    #[garde(skip)]
    #[serde(default = "by_day")]
    range: Bucket,
    #[garde(skip)]
    from: Option<Timestamp>,
    #[garde(skip)]
    to: Option<Timestamp>,
    #[garde(skip)]
    #[serde(default = "undivided")]
    group_by: Dimension,
}

fn by_day() -> Bucket {
    Bucket::Day
}

fn undivided() -> Dimension {
    Dimension::All
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
/// Every bucket of the span is there, the empty ones too. Buckets are in UTC. Without `from` and `to`: the last 24
/// hours, 30 days or 12 months.
#[utoipa::path(get, path = "/api/usage/stats", tag = "usage",
    params(
        ("workspaceId" = WorkspaceId, Query),
        ("range" = Option<Bucket>, Query, description = "the size of the buckets; `day` unless told"),
        ("from" = Option<String>, Query, description = "a moment in the first bucket, RFC 3339"),
        ("to" = Option<String>, Query, description = "the end, itself not included, RFC 3339"),
        ("groupBy" = Option<Dimension>, Query, description = "what each bucket is divided by; `none` unless told")
    ),
    responses((status = 200, body = StatsView), ReadProblems))]
async fn stats(
    State(app): State<App>,
    who: Member<grant::WorkspaceView>,
    Query(asked): Query<StatsParameters>,
) -> Result<Reply<StatsView>> {
    let query = StatsQuery {
        range: asked.range,
        from: asked.from,
        to: asked.to,
        group_by: asked.group_by,
    };
    Reply::ok(&stats::stats(app.db(), who.workspace.id, &query, who.context().now).await?)
}
