//! `/api/…/audit-logs`: who did what.

mod asked;
pub mod parameters;

use axum::extract::State;
use axum::response::Response;
use camarad::app::App;
use camarad::domain::audit::chain;
use camarad::domain::audit::view::AuditView;
use camarad::domain::auth::tokens::Jwks;
use camarad::domain::permissions::grant;
use camarad::error::Result;
use camarad::http::problem::{PublicProblems, ReadProblems};
use camarad::http::{Caller, Member, Operator};
use camarad::ids::WorkspaceId;
use camarad::reply::Reply;
use camarad::store::Page;
use camarad::store::record::Scope;
use http::Method;
use http::header::{CACHE_CONTROL, HeaderName};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use asked::Asked;
use parameters::{FilterParameters, FormatParameter, PageParameters, ScopeParameter};

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(of_workspace))
        .routes(routes!(export_of_workspace))
        .routes(routes!(of_account))
        .routes(routes!(export_of_account))
        .routes(routes!(of_any))
        .routes(routes!(export_of_any))
        .routes(routes!(keys))
}

/// Which of them stream, as template.yaml tells API Gateway.
pub fn streams(method: &Method, path: &str) -> bool {
    *method == Method::GET && path.ends_with("/export")
}

/// The keys that statements about audit logs are signed with
///
/// For `make verify-audit KEYS=…`. Keep a copy: a key that you knew before is worth more than one that comes with what it
/// signed. Empty until something of the platform's own was recorded.
#[utoipa::path(get, path = "/.well-known/audit-keys.json", tag = "audit", security(()),
    responses((status = 200, body = Jwks), PublicProblems))]
async fn keys(State(app): State<App>) -> Result<([(HeaderName, &'static str); 1], Reply<Jwks>)> {
    let keys = chain::published(&app).await?;
    Ok((
        [(CACHE_CONTROL, "public, max-age=300")],
        Reply::ok(&Jwks { keys })?,
    ))
}

/// The audit log of a workspace, newest first
///
/// A page may have fewer records than asked for and still go on. Address and client are shown until the person's account
/// is deleted; then `erased` is true.
#[utoipa::path(get, path = "/api/workspaces/{id}/audit-logs", tag = "audit",
    params(("id" = WorkspaceId, Path), FilterParameters, PageParameters),
    responses((status = 200, body = Page<AuditView>), ReadProblems))]
async fn of_workspace(
    State(app): State<App>,
    who: Member<grant::AuditView>,
    asked: Asked,
) -> Result<Reply<Page<AuditView>>> {
    asked.list(&app, Scope::Workspace(who.workspace.id)).await
}

/// The audit log of a workspace as a file
///
/// NDJSON carries each record with its number and hash in the workspace's chain, between a signed checkpoint and the
/// signed head, so that `make verify-audit` can show that nothing was changed, removed or added. CSV is for people. The
/// export is recorded as `data.exported`. Records of the last minute may be missing.
#[utoipa::path(get, path = "/api/workspaces/{id}/audit-logs/export", tag = "audit",
    params(("id" = WorkspaceId, Path), FilterParameters, FormatParameter),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), ReadProblems))]
async fn export_of_workspace(
    State(app): State<App>,
    who: Member<grant::AuditView>,
    asked: Asked,
) -> Result<Response> {
    let scope = Scope::Workspace(who.workspace.id);
    asked.export(&app, who.context(), (who.caller.user, scope)).await
}

/// The audit log of the caller's own account, newest first
#[utoipa::path(get, path = "/api/user/audit-logs", tag = "audit",
    params(FilterParameters, PageParameters),
    responses((status = 200, body = Page<AuditView>), ReadProblems))]
async fn of_account(State(app): State<App>, who: Caller, asked: Asked) -> Result<Reply<Page<AuditView>>> {
    asked.list(&app, Scope::Account(who.user)).await
}

/// The audit log of the caller's own account as a file
#[utoipa::path(get, path = "/api/user/audit-logs/export", tag = "audit",
    params(FilterParameters, FormatParameter),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), ReadProblems))]
async fn export_of_account(State(app): State<App>, who: Caller, asked: Asked) -> Result<Response> {
    let scope = Scope::Account(who.user);
    asked.export(&app, &who.context, (who.user, scope)).await
}

/// Any audit log, for operators, newest first
#[utoipa::path(get, path = "/api/audit-logs", tag = "audit",
    params(ScopeParameter, FilterParameters, PageParameters),
    responses((status = 200, body = Page<AuditView>), ReadProblems))]
async fn of_any(
    State(app): State<App>,
    Operator(_): Operator,
    mut asked: Asked,
) -> Result<Reply<Page<AuditView>>> {
    let scope = asked.scope()?;
    asked.list(&app, scope).await
}

/// Any audit log as a file, for operators
#[utoipa::path(get, path = "/api/audit-logs/export", tag = "audit",
    params(ScopeParameter, FilterParameters, FormatParameter),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), ReadProblems))]
async fn export_of_any(
    State(app): State<App>,
    Operator(who): Operator,
    mut asked: Asked,
) -> Result<Response> {
    let scope = asked.scope()?;
    asked.export(&app, &who.context, (who.user, scope)).await
}
