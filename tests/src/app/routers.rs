//! The routers of all HTTP functions, by function. Together they are the API.

use camarad::app::App;
use utoipa_axum::router::OpenApiRouter;

/// Each function with its routes.
pub fn by_function() -> Vec<(&'static str, OpenApiRouter<App>)> {
    vec![
        ("agents", agents::router()),
        ("audit", audit::router()),
        ("auth", auth::router()),
        ("billing", billing::router()),
        ("ledger", ledger::router()),
        ("meta", meta::router()),
        ("notifications", notifications::router()),
        ("onboarding", onboarding::router()),
        ("runtime", runtime::router()),
        ("stripe-webhook", stripe_webhook::router()),
        ("usage", usage::router()),
        ("users", users::router()),
        ("workspaces", workspaces::router()),
    ]
}

/// All routes.
pub fn all() -> OpenApiRouter<App> {
    by_function()
        .into_iter()
        .fold(OpenApiRouter::new(), |all, (_, router)| all.merge(router))
}
