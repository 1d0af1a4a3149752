//! routes.tsv: the one list of routes.

use crate::app::stack::repository;

/// A line of routes.tsv.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: String,
    pub path: String,
    pub function: String,
    pub milestone: String,
    pub audience: String,
    pub permission: String,
    /// What an API key must be allowed; `-` when no API key reaches this.
    pub scope: String,
    pub limits: String,
    pub idempotency: String,
    pub mode: String,
    pub state: String,
}

impl Route {
    /// `GET /api/user`
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }
}

/// Every route of every milestone.
pub fn all() -> Vec<Route> {
    let text = std::fs::read_to_string(repository().join("routes.tsv")).expect("routes.tsv");
    let mut lines = text.lines();
    let header =
        "method\tpath\tfunction\tmilestone\taudience\tpermission\tscope\tlimits\tidempotency\tmode\tstate";
    assert_eq!(lines.next(), Some(header), "routes.tsv has another header");
    lines.map(parse).collect()
}

/// The routes that exist.
pub fn live() -> Vec<Route> {
    all().into_iter().filter(|r| r.state == "live").collect()
}

fn parse(line: &str) -> Route {
    let fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
    let [
        method,
        path,
        function,
        milestone,
        audience,
        permission,
        scope,
        limits,
        idempotency,
        mode,
        state,
    ] = fields.try_into().unwrap_or_else(|_| panic!("routes.tsv: {line}"));
    Route {
        method,
        path,
        function,
        milestone,
        audience,
        permission,
        scope,
        limits,
        idempotency,
        mode,
        state,
    }
}
