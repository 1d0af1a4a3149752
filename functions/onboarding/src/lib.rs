//! `/api/onboarding`: a new person's plan, workspace, agents, preferences and Checkout page in one go.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::name::Name;
use camarad::domain::onboarding::start::{self, Wish};
use camarad::domain::onboarding::view::OnboardingView;
use camarad::domain::plans::Plan;
use camarad::domain::users::preferences::PreferencesPatch;
use camarad::domain::workspaces::WorkspaceType;
use camarad::error::Result;
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, Execution, OnceRequired};
use camarad::ids::ExecutionId;
use camarad::reply::Reply;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(complete))
        .routes(routes!(progress))
}

/// What a new person chose.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CompleteOnboarding {
    /// The plan to try; `custom` is by contract.
    #[garde(skip)]
    plan_id: Plan,
    /// The first workspace.
    #[garde(skip)]
    workspace: FirstWorkspace,
    /// The presets of its agents; the first ten are active.
    #[garde(length(min = 1, max = 20))]
    #[schema(min_items = 1, max_items = 20)]
    selected_agent_preset_ids: Vec<String>,
    /// Preferences that differ from the defaults.
    #[garde(dive)]
    preferences: Option<PreferencesPatch>,
}

/// The first workspace.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FirstWorkspace {
    /// Its name.
    name: Name,
    /// What it is for.
    #[serde(rename = "type")]
    kind_of: WorkspaceType,
}

/// Complete the onboarding
///
/// Sets the plan, makes workspace, agents and preferences, and opens the page at Stripe where a card is entered, with which
/// the trial begins: all of it, or nothing. Waits for the end for some seconds; what takes longer is told by
/// `GET /api/onboarding/{executionId}`. After a failure the same request may be sent again.
#[utoipa::path(post, path = "/api/onboarding/complete", tag = "onboarding", request_body = CompleteOnboarding,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = OnboardingView, description = "All of it is there."),
        (status = 202, body = OnboardingView, description = "It goes on."), WriteProblems))]
async fn complete(
    State(app): State<App>,
    who: Caller,
    once: OnceRequired,
    Body(req): Body<CompleteOnboarding>,
) -> Result<Reply<OnboardingView>> {
    let first = (req.workspace.name, req.workspace.kind_of);
    let wish = Wish::parse(
        req.plan_id,
        first,
        &req.selected_agent_preset_ids,
        req.preferences,
    )?;
    let begun = once
        .once()
        .run(&app, start::begin(&app, &who.context, who.user, &once.0, wish))
        .await?;
    Box::pin(start::follow(&app, &begun)).await
}

/// How far an onboarding is, and what it made
#[utoipa::path(get, path = "/api/onboarding/{executionId}", tag = "onboarding", params(("executionId" = ExecutionId, Path)),
    responses((status = 200, body = OnboardingView), ReadProblems))]
async fn progress(
    State(app): State<App>,
    who: Caller,
    Execution(execution): Execution,
) -> Result<Reply<OnboardingView>> {
    Reply::ok(&start::read(&app, who.user, execution).await?)
}
