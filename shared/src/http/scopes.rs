//! Which scope an API key needs for a route: what routes.tsv says. A route that the list does not have takes no key.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::MatchedPath;
use http::Method;
use http::request::Parts;

use crate::domain::auth::api_keys::KeyScope;

/// The one list of routes.
const ROUTES: &str = include_str!("../../../routes.tsv");

/// Method and path of every live route that takes API keys.
static NEEDED: LazyLock<HashMap<(&str, &str), KeyScope>> = LazyLock::new(|| {
    let mut lines = ROUTES.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let columns = lines.next().unwrap_or_default();
    let place = |name: &str| columns.iter().position(|c| *c == name).unwrap_or(usize::MAX);
    let [method, path, scope] = ["method", "path", "scope"].map(place);
    let needed = |row: Vec<&'static str>| {
        let scope = KeyScope::parse(row.get(scope)?)?;
        Some(((*row.get(method)?, *row.get(path)?), scope))
    };
    lines.filter_map(needed).collect()
});

/// The scope that an API key needs for this request; `None` when no key will do.
pub(super) fn needed(parts: &Parts) -> Option<KeyScope> {
    let path = parts.extensions.get::<MatchedPath>()?;
    let method = if parts.method == Method::HEAD {
        &Method::GET
    } else {
        &parts.method
    };
    NEEDED.get(&(method.as_str(), path.as_str())).copied()
}
