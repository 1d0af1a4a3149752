//! Rendering of values and expressions into what the SDK sends. Nothing outside `store` sees these types.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

use super::expr::{Change, Compare, Cond, Node, Path, Update};
use crate::error::{Error, Result};

pub(super) type Item = HashMap<String, AttributeValue>;

/// A value as DynamoDB stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value(pub(super) AttributeValue);

impl Value {
    pub(super) fn of(value: &impl Serialize) -> Result<Self> {
        serde_dynamo::to_attribute_value(value)
            .map(Self)
            .map_err(Error::internal)
    }
}

/// Expressions with their placeholders.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub(super) update: Option<String>,
    pub(super) condition: Option<String>,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Rendered {
    pub(super) fn of_update(update: &Update) -> Self {
        let mut r = Self::default();
        r.update = Some(r.changes(&update.changes));
        r.condition = update.cond.as_ref().map(|c| r.node(&c.0));
        r
    }

    pub(super) fn of_cond(cond: Option<&Cond>) -> Self {
        let mut r = Self::default();
        r.condition = cond.map(|c| r.node(&c.0));
        r
    }

    /// The SDK wants absent rather than empty maps.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    fn name(&mut self, name: &str) -> String {
        if let Some((placeholder, _)) = self.names.iter().find(|(_, n)| *n == name) {
            return placeholder.clone();
        }
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn path(&mut self, path: &Path) -> String {
        path.0
            .iter()
            .map(|name| self.name(name))
            .collect::<Vec<_>>()
            .join(".")
    }

    fn value(&mut self, value: &Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.0.clone());
        placeholder
    }

    fn changes(&mut self, changes: &[Change]) -> String {
        let (mut set, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Set(p, v) => set.push(format!("{} = {}", self.path(p), self.value(v))),
                Change::SetIfAbsent(p, v) => {
                    let p = self.path(p);
                    set.push(format!("{p} = if_not_exists({p}, {})", self.value(v)));
                }
                Change::Sum { target, source, by } => {
                    set.push(format!(
                        "{} = {} + {}",
                        self.path(target),
                        self.path(source),
                        self.value(by)
                    ));
                }
                Change::Add(p, v) => add.push(format!("{} {}", self.path(p), self.value(v))),
                Change::Remove(p) => remove.push(self.path(p)),
            }
        }
        [("SET", set), ("ADD", add), ("REMOVE", remove)]
            .into_iter()
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(verb, parts)| format!("{verb} {}", parts.join(", ")))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn node(&mut self, node: &Node) -> String {
        match node {
            Node::Exists(p) => format!("attribute_exists({})", self.path(p)),
            Node::Absent(p) => format!("attribute_not_exists({})", self.path(p)),
            Node::Compare(p, op, v) => {
                let op = match op {
                    Compare::Eq => "=",
                    Compare::Ne => "<>",
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Gt => ">",
                    Compare::Ge => ">=",
                };
                format!("{} {op} {}", self.path(p), self.value(v))
            }
            Node::All(nodes) => self.joined(nodes, " AND "),
            Node::Any(nodes) => self.joined(nodes, " OR "),
        }
    }

    fn joined(&mut self, nodes: &[Node], with: &str) -> String {
        let parts: Vec<_> = nodes.iter().map(|n| format!("({})", self.node(n))).collect();
        parts.join(with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::Key;

    #[test]
    fn an_update_renders_with_placeholders_only() -> Result<()> {
        let update = Update::of(Key::raw("p", "s"))
            .set("name", "x")?
            .sum(["bal", "op:1"], "posted", -5)?
            .add("n", 1)?
            .remove("gone")
            .when(Cond::eq("rev", 3)?.and(Cond::absent(["ops", "op:1"])));
        let r = Rendered::of_update(&update);
        assert_eq!(
            r.update.as_deref(),
            Some("SET #n0 = :v0, #n1.#n2 = #n3 + :v1 ADD #n4 :v2 REMOVE #n5")
        );
        assert_eq!(
            r.condition.as_deref(),
            Some("(#n6 = :v3) AND (attribute_not_exists(#n7.#n2))")
        );
        assert_eq!(r.names.get("#n2").map(String::as_str), Some("op:1"));
        Ok(())
    }
}
