//! Which scope an API key needs for a route: what routes.tsv says. A route that the list does not have takes no key.

use std::collections::{HashMap, HashSet};
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

/// Functions whose writes move money, or begin what is paid for.
const MONEY: [&str; 3] = ["billing", "ledger", "onboarding"];

/// Method and path of every route by which money moves.
static MOVES_MONEY: LazyLock<HashSet<(&str, &str)>> = LazyLock::new(|| {
    let mut lines = ROUTES.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let columns = lines.next().unwrap_or_default();
    let place = |name: &str| columns.iter().position(|c| *c == name).unwrap_or(usize::MAX);
    let [method, path, function] = ["method", "path", "function"].map(place);
    let moves = |row: Vec<&'static str>| {
        let write = *row.get(method)? != "GET";
        (write && MONEY.contains(row.get(function)?)).then_some((*row.get(method)?, *row.get(path)?))
    };
    lines.filter_map(moves).collect()
});

/// Whether this request may move money.
pub(super) fn moves_money(parts: &Parts) -> bool {
    let path = parts.extensions.get::<MatchedPath>();
    path.is_some_and(|path| MOVES_MONEY.contains(&(parts.method.as_str(), path.as_str())))
}

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
