//! `/api/user/preferences`.

use axum::extract::State;
use axum::response::Response;
use camarad::app::App;
use camarad::domain::users::preferences::{self, PreferencesPatch, PreferencesView};
use camarad::error::Result;
use camarad::http::precondition::{Tagged, tagged};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, IfMatch, IfNoneMatch, Once};
use camarad::reply::Reply;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_preferences, update_preferences))
}

/// Your preferences
///
/// What you never chose reads as its default. Locale and time zone are the profile's: one value, shown in both places.
#[utoipa::path(get, path = "/api/user/preferences", tag = "users",
    params(("If-None-Match" = Option<String>, Header, description = "an ETag of the preferences")),
    responses((status = 200, body = PreferencesView, headers(("ETag" = String, description = "the version"))),
        (status = 304, description = "You have this version."), ReadProblems))]
async fn read_preferences(State(app): State<App>, who: Caller, known: IfNoneMatch) -> Result<Response> {
    let view = preferences::read(&app, who.user).await?;
    known.answer(view.version, Reply::ok(&view)?)
}

/// Change your preferences
///
/// A JSON merge patch: what is absent stays, `null` sets the default again. Only if nobody changed the
/// preferences since the ETag in If-Match.
#[utoipa::path(patch, path = "/api/user/preferences", tag = "users",
    request_body(content((PreferencesPatch = "application/merge-patch+json"), (PreferencesPatch = "application/json"))),
    params(("If-Match" = String, Header, description = "an ETag of the preferences; `*` overwrites whatever is there"), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = PreferencesView, headers(("ETag" = String, description = "the version"))),
        (status = 412, description = "The preferences have changed since.", body = camarad::http::problem::Problem, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing.", body = camarad::http::problem::Problem, content_type = "application/problem+json"),
        WriteProblems))]
async fn update_preferences(
    State(app): State<App>,
    who: Caller,
    once: Once,
    expected: IfMatch,
    Body(patch): Body<PreferencesPatch>,
) -> Result<Tagged<PreferencesView>> {
    let subject = (who.user, expected.versions());
    let work = preferences::update(&app, &who.context, subject, once.key(), &patch);
    let reply = once.run(&app, work).await?;
    tagged(reply.value()?.version, reply)
}
