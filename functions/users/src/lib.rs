//! `/api/user`: a person's own profile, preferences, subscription, export and deletion.

mod deletion;
mod export;
mod identities;
mod preferences;
mod security;
mod staff;

use axum::extract::State;
use axum::response::Response;
use camarad::app::App;
use camarad::domain::name::Name;
use camarad::domain::users::fields::{AvatarUrl, Locale, Timezone};
use camarad::domain::users::profile::{self, ProfilePatch, UserView};
use camarad::domain::users::subscription::{self, SubscriptionView};
use camarad::error::Result;
use camarad::http::precondition::{Tagged, tagged};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, IfMatch, IfNoneMatch, Once};
use camarad::reply::Reply;
use http::Method;
use serde::{Deserialize, Deserializer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(security::router())
        .merge(staff::router())
        .routes(routes!(read, update))
        .routes(routes!(read_subscription))
        .routes(routes!(identities::list, identities::begin))
        .routes(routes!(identities::unlink))
        .merge(preferences::router())
        .merge(deletion::router())
        .merge(export::router())
}

/// Which of them stream, as template.yaml tells API Gateway: the download of an export.
pub fn streams(method: &Method, path: &str) -> bool {
    *method == Method::GET && path.starts_with("/api/user/export/") && path.ends_with("/download")
}

/// What changes; the rest stays (RFC 7396).
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(allow_unvalidated)] // the fields' types are valid by construction
struct UpdateUser {
    /// A new name.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    name: Option<Name>,
    /// A new picture; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    avatar_url: Option<Option<AvatarUrl>>,
    /// Another language.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    locale: Option<Locale>,
    /// Another time zone.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    timezone: Option<Timezone>,
}

/// Tells `null`, which only some fields take, from absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// Your profile
#[utoipa::path(get, path = "/api/user", tag = "users",
    params(("If-None-Match" = Option<String>, Header, description = "an ETag of the profile")),
    responses((status = 200, body = UserView, headers(("ETag" = String, description = "the version"))),
        (status = 304, description = "You have this version."), ReadProblems))]
async fn read(State(app): State<App>, who: Caller, known: IfNoneMatch) -> Result<Response> {
    let user = UserView::from(profile::read(&app, who.user).await?);
    known.answer(user.version, Reply::ok(&user)?)
}

/// Change your profile
///
/// Fields that are absent stay. Only if nobody changed the profile since the ETag in If-Match.
#[utoipa::path(patch, path = "/api/user", tag = "users", request_body = UpdateUser,
    params(("If-Match" = String, Header, description = "an ETag of the profile; `*` overwrites whatever is there"), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = UserView, headers(("ETag" = String, description = "the version"))),
        (status = 412, description = "The profile has changed since.", body = camarad::http::problem::Problem, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing.", body = camarad::http::problem::Problem, content_type = "application/problem+json"),
        WriteProblems))]
async fn update(
    State(app): State<App>,
    who: Caller,
    once: Once,
    expected: IfMatch,
    Body(req): Body<UpdateUser>,
) -> Result<Tagged<UserView>> {
    let patch = ProfilePatch {
        name: req.name,
        avatar_url: req.avatar_url,
        locale: req.locale,
        timezone: req.timezone,
    };
    let subject = (who.user, expected.versions());
    let work = profile::update(&app, &who.context, subject, once.key(), &patch);
    let reply = once.run(&app, work).await?;
    tagged(reply.value()?.version, reply)
}

/// Your subscription: plan, trial, limits and what of them is in use
#[utoipa::path(get, path = "/api/user/subscription", tag = "users",
    responses((status = 200, body = SubscriptionView), ReadProblems))]
async fn read_subscription(State(app): State<App>, who: Caller) -> Result<Reply<SubscriptionView>> {
    Reply::ok(&subscription::read(&app, who.user, who.context.now).await?)
}
