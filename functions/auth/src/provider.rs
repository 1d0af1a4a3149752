//! The identity provider that a path names.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use camarad::app::App;
use camarad::config::ProviderConfig;
use camarad::domain::auth::sign_in;
use camarad::error::{Error, Result};
use camarad::http::member::path_id;
use serde::{Deserialize, Serialize};

/// A way to sign in.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProviderView {
    /// Its name in paths.
    id: String,
    /// Its name on a button.
    name: String,
    /// Where that button leads; takes `returnTo` and `mode`.
    login_url: String,
}

impl ProviderView {
    pub(super) fn of(provider: &ProviderConfig, public_url: &str) -> Self {
        Self {
            id: provider.id.clone(),
            name: provider.name.clone(),
            login_url: format!("{public_url}/api/auth/{}/login", provider.id),
        }
    }
}

/// How one can sign in.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaysToSignIn {
    /// The providers.
    pub(super) items: Vec<ProviderView>,
    /// Whether `POST /api/auth/magic-link` mails a link.
    pub(super) magic_link: bool,
}

/// The configured provider that the path names.
pub(super) struct Provider(pub(super) ProviderConfig);

impl FromRequestParts<App> for Provider {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let id: String = path_id(parts, app, "provider").await?;
        sign_in::provider(app.config(), &id).cloned().map(Self)
    }
}
