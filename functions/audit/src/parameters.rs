//! Query parameters as the OpenAPI document tells them; `asked` reads them.

use camarad::store::record::Action;

/// Filters, for the OpenAPI document; `Asked` reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FilterParameters {
    /// The id of a person or an API key, the name of a job, `system` or `anonymous`.
    #[param(min_length = 1, max_length = 128)]
    pub actor: Option<String>,
    /// One of these actions; may come up to 20 times.
    #[param(style = Form, explode, max_items = 20)]
    pub action: Option<Vec<Action>>,
    /// What it was done to: an id.
    #[param(min_length = 1, max_length = 128)]
    pub resource: Option<String>,
    /// At this moment or later.
    #[param(value_type = Option<String>, format = DateTime)]
    pub from: Option<String>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    pub to: Option<String>,
}

/// Which page, for the OpenAPI document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// 1 to 100, 50 unless told.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
    /// Where the page starts.
    pub cursor: Option<String>,
}

/// In which format, for the OpenAPI document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FormatParameter {
    /// `ndjson`, which is also what comes unless told, or `csv`.
    #[param(pattern = "^(ndjson|csv)$")]
    pub format: Option<String>,
}

/// Whose log, for the OpenAPI document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ScopeParameter {
    /// `platform`, which is also what comes unless told, or the id of a workspace or a person.
    pub scope: Option<String>,
}
