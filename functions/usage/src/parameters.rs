//! What requests ask for.

use camarad::domain::usage::breakdown::BreakdownQuery;
use camarad::domain::usage::export::Wanted;
use camarad::domain::usage::stats::StatsQuery;
use camarad::domain::usage::{Bucket, Dimension, Zone};
use camarad::domain::users::User;
use camarad::error::Result;
use camarad::ids::{CallId, WorkspaceId};
use jiff::Timestamp;
use serde::Deserialize;

/// The query of `/api/usage/stats`.
#[derive(Debug, Deserialize, garde::Validate, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatsParameters {
    /// Of which workspace; of all that the caller owns, unless told.
    #[garde(skip)]
    #[serde(rename = "workspaceId")]
    #[param(rename = "workspaceId")]
    _workspace_id: Option<WorkspaceId>,
    /// The size of the buckets; `day` unless told.
    #[garde(skip)]
    #[serde(default = "by_day")]
    #[param(required = false)]
    range: Bucket,
    /// A moment in the first bucket.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The end, itself not included.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// What each bucket is divided by; `none` unless told.
    #[garde(skip)]
    #[serde(default = "undivided")]
    #[param(required = false)]
    group_by: Dimension,
    /// The IANA time zone whose calendar the buckets follow; that of the caller's profile unless told.
    #[garde(skip)]
    timezone: Option<String>,
}

/// The query of `/api/usage/breakdown`.
#[derive(Debug, Deserialize, garde::Validate, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BreakdownParameters {
    /// Of which workspace; of all that the caller owns, unless told.
    #[garde(skip)]
    #[serde(rename = "workspaceId")]
    #[param(rename = "workspaceId")]
    _workspace_id: Option<WorkspaceId>,
    /// A moment in the first day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The end, itself not included; a day that has begun counts whole.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// What the whole is divided by: `agent` unless told, `model`, `member` or `workspace`.
    #[garde(skip)]
    #[serde(default = "by_agent")]
    #[param(required = false)]
    group_by: Dimension,
    /// The IANA time zone whose days are meant; that of the caller's profile unless told.
    #[garde(skip)]
    timezone: Option<String>,
}

/// The query of `/api/usage/export`.
#[derive(Debug, Deserialize, garde::Validate, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportParameters {
    /// Read by `Member`.
    #[garde(skip)]
    #[serde(rename = "workspaceId")]
    #[param(rename = "workspaceId")]
    _workspace_id: WorkspaceId,
    /// From when on; from the first call unless told.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The end, itself not included; now unless told.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Of the calls at `from`, those after this one.
    #[garde(skip)]
    after: Option<CallId>,
}

/// A usage event, for the OpenAPI document.
#[derive(utoipa::ToSchema)]
pub struct UsageCloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// Unique together with `source`.
    #[schema(min_length = 1, max_length = 128)]
    pub id: String,
    /// `camarad/` and the service's name.
    #[schema(pattern = "^camarad/[a-z0-9-]{1,64}$")]
    pub source: String,
    /// `com.camarad.usage.recorded`.
    pub r#type: String,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// `application/json`.
    pub datacontenttype: Option<String>,
    /// Call, request, person, workspace, agent, account, model, tokens, cost, status and moment.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

fn by_day() -> Bucket {
    Bucket::Day
}

fn undivided() -> Dimension {
    Dimension::All
}

fn by_agent() -> Dimension {
    Dimension::Agent
}

/// What was asked for, or what the person's profile says.
fn zone(asked: Option<&str>, profile: &User) -> Result<Zone> {
    Zone::parse(asked.unwrap_or(&profile.timezone))
}

impl StatsParameters {
    pub(crate) fn query(self, profile: &User) -> Result<StatsQuery> {
        Ok(StatsQuery {
            range: self.range,
            zone: zone(self.timezone.as_deref(), profile)?,
            from: self.from,
            to: self.to,
            group_by: self.group_by,
        })
    }
}

impl BreakdownParameters {
    pub(crate) fn query(self, profile: &User) -> Result<BreakdownQuery> {
        Ok(BreakdownQuery {
            zone: zone(self.timezone.as_deref(), profile)?,
            from: self.from,
            to: self.to,
            group_by: self.group_by,
        })
    }
}

impl ExportParameters {
    pub(crate) fn wanted(self, workspace: WorkspaceId) -> Wanted {
        Wanted {
            workspace,
            from: self.from,
            to: self.to,
            after: self.after,
        }
    }
}
