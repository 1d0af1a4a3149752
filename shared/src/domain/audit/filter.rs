//! What is wanted of a log.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::context::Actor;
use crate::error::{Error, FieldError, Result};
use crate::store::record::{Action, AuditRecord};

/// The longest value of a filter in bytes; no id is longer.
const MAX_VALUE: usize = 128;

/// Which records are wanted: those that everything given holds for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// By whom: the id of a person (their API keys included) or of an API key, the name of a job, `system` or `anonymous`.
    pub actor: Option<String>,
    /// One of these; empty means any.
    pub actions: Vec<Action>,
    /// Of what: an id.
    pub resource: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

impl Filter {
    /// From query parameters; those that are none of a filter's are handed back.
    ///
    /// # Errors
    /// `Invalid`, naming each parameter that is wrong or comes twice; `action` may come up to 20 times.
    pub fn parse(parameters: Vec<(String, String)>) -> Result<(Self, Vec<(String, String)>)> {
        let (mut filter, mut rest, mut faults) = (Self::default(), Vec::new(), Vec::new());
        for (name, value) in parameters {
            let field = format!("query.{name}");
            let taken = match name.as_str() {
                "actor" => once(&mut filter.actor, text(value)),
                "resource" => once(&mut filter.resource, text(value)),
                "from" => once(&mut filter.from, moment(&value)),
                "to" => once(&mut filter.to, moment(&value)),
                "action" => action(&mut filter.actions, value),
                _ => {
                    rest.push((name, value));
                    Ok(())
                }
            };
            if let Err(message) = taken {
                faults.push(FieldError {
                    field,
                    message: message.into(),
                });
            }
        }
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && from >= to
        {
            faults.push(FieldError {
                field: "query.to".into(),
                message: "must be later than from".into(),
            });
        }
        if faults.is_empty() {
            Ok((filter, rest))
        } else {
            Err(Error::Invalid(faults))
        }
    }

    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record of this time may be wanted.
    pub fn spans(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }

    /// Whether a record is wanted.
    pub fn takes(&self, record: &AuditRecord) -> bool {
        self.spans(record.at)
            && (self.actions.is_empty() || self.actions.contains(&record.action))
            && self.resource.as_ref().is_none_or(|r| *r == record.resource)
            && self.actor.as_ref().is_none_or(|a| is(&record.actor, a))
    }

    /// The filter as an export tells it.
    pub fn told(&self) -> Value {
        let mut told = Map::new();
        if let Some(actor) = &self.actor {
            told.insert("actor".into(), json!(actor));
        }
        if !self.actions.is_empty() {
            told.insert("action".into(), json!(self.actions));
        }
        if let Some(resource) = &self.resource {
            told.insert("resource".into(), json!(resource));
        }
        if let Some(from) = self.from {
            told.insert("from".into(), json!(from));
        }
        if let Some(to) = self.to {
            told.insert("to".into(), json!(to));
        }
        told.into()
    }
}

fn is(actor: &Actor, wanted: &str) -> bool {
    match actor {
        Actor::User { id, .. } => id.to_string() == wanted,
        Actor::ApiKey { id, user } => id.to_string() == wanted || user.to_string() == wanted,
        Actor::System { name } => wanted == "system" || name == wanted,
        Actor::Anonymous => wanted == "anonymous",
    }
}

fn once<T>(slot: &mut Option<T>, value: Result<T, &'static str>) -> Result<(), &'static str> {
    if slot.is_some() {
        return Err("may appear once");
    }
    *slot = Some(value?);
    Ok(())
}

fn text(value: String) -> Result<String, &'static str> {
    let fits = (1..=MAX_VALUE).contains(&value.len()) && !value.chars().any(char::is_control);
    fits.then_some(value).ok_or("must be an id: 1 to 128 characters")
}

fn moment(value: &str) -> Result<Timestamp, &'static str> {
    value.parse().map_err(|_| "must be a moment of RFC 3339")
}

fn action(actions: &mut Vec<Action>, value: String) -> Result<(), &'static str> {
    if actions.len() >= 20 {
        return Err("may appear 20 times");
    }
    let known = Action::ALL.iter().find(|a| a.as_str() == value);
    actions.push(*known.ok_or("is no action")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<(Filter, Vec<(String, String)>)> {
        Filter::parse(
            query
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("actor", "")], "query.actor"),
            (&[("actor", "a"), ("actor", "b")], "query.actor"),
            (&[("resource", "a\u{0}b")], "query.resource"),
            (&[("action", "user.loged_in")], "query.action"),
            (&[("from", "yesterday")], "query.from"),
            (&[("to", "2026-13-01T00:00:00Z")], "query.to"),
            (
                &[("from", "2026-01-02T00:00:00Z"), ("to", "2026-01-02T00:00:00Z")],
                "query.to",
            ),
        ];
        for (query, field) in cases {
            let error = parse(query);
            assert!(
                matches!(&error, Err(Error::Invalid(f)) if f[0].field == field),
                "{error:?}"
            );
        }
    }

    #[test]
    fn several_actions_are_taken_and_other_parameters_handed_back() {
        let (filter, rest) = parse(&[
            ("action", "user.login"),
            ("limit", "5"),
            ("action", "user.logout"),
        ])
        .unwrap_or_default();
        assert_eq!(filter.actions, [Action::UserLogin, Action::UserLogout]);
        assert_eq!(rest, [("limit".to_owned(), "5".to_owned())]);
    }
}
