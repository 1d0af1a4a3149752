//! A call as both wire formats mean it, read as strictly as the providers read it.

use serde_json::Value;

/// Which provider's format a call came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// OpenAI Chat Completions.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

/// One turn of the conversation, its text parts joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// `user`, `assistant` or `tool`; system texts are kept apart.
    pub role: String,
    /// The text.
    pub text: String,
}

/// What was asked, whichever format it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    wire: Wire,
    pub(crate) model: String,
    system: String,
    turns: Vec<Turn>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

impl Call {
    /// Reads a request's body; the error is the provider's sentence for its 400.
    pub fn parse(wire: Wire, body: &Value) -> Result<Self, String> {
        let messages = body
            .get("messages")
            .and_then(Value::as_array)
            .filter(|messages| !messages.is_empty())
            .ok_or("messages: at least one message is required")?;
        let mut call = Self {
            wire,
            model: text_field(body, "model").ok_or("you must provide a model parameter")?,
            system: String::new(),
            turns: Vec::new(),
            max_tokens: max_tokens(wire, body)?,
            stream: flag(body.get("stream"))?,
            include_usage: flag(body.pointer("/stream_options/include_usage"))?,
        };
        match wire {
            Wire::OpenAi
                if body
                    .get("stream_options")
                    .is_some_and(|options| !options.is_null())
                    && !call.stream =>
            {
                return Err(
                    "The 'stream_options' parameter is only allowed when 'stream' is enabled.".into(),
                );
            }
            Wire::OpenAi => {}
            Wire::Anthropic => call.system = body.get("system").map_or(Ok(String::new()), content_text)?,
        }
        check_temperature(wire, body)?;
        for message in messages {
            call.take_message(message)?;
        }
        Ok(call)
    }

    fn take_message(&mut self, message: &Value) -> Result<(), String> {
        let role = text_field(message, "role").ok_or("messages: each message needs a role")?;
        let text = content_text(message.get("content").unwrap_or(&Value::Null))?;
        match (self.wire, role.as_str()) {
            (Wire::OpenAi, "system" | "developer") => {
                if !self.system.is_empty() {
                    self.system.push('\n');
                }
                self.system.push_str(&text);
            }
            (Wire::Anthropic, "user") if text.is_empty() => {
                return Err("messages: text content blocks must be non-empty".into());
            }
            (_, "user" | "assistant") | (Wire::OpenAi, "tool") => self.turns.push(Turn { role, text }),
            _ => return Err(format!("messages: unexpected role \"{role}\"")),
        }
        Ok(())
    }

    /// The format that the answer has to have.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// All system texts, joined with line feeds.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// What the person said last; empty if nobody said anything.
    pub fn last_user(&self) -> &str {
        self.turns
            .iter()
            .rev()
            .find(|turn| turn.role == "user")
            .map_or("", |turn| &turn.text)
    }

    /// User turns before the last one.
    pub fn earlier_turns(&self) -> usize {
        self.turns
            .iter()
            .filter(|turn| turn.role == "user")
            .count()
            .saturating_sub(1)
    }

    /// Tokens read: the sum of [`count_tokens`](super::count_tokens) over the joined system text and each turn.
    pub fn input_tokens(&self) -> u64 {
        let turns: u64 = self
            .turns
            .iter()
            .map(|turn| super::count_tokens(&turn.text))
            .sum();
        super::count_tokens(&self.system) + turns
    }
}

fn text_field(object: &Value, name: &str) -> Option<String> {
    object
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn flag(value: Option<&Value>) -> Result<bool, String> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| format!("Invalid type: expected a boolean, got {value}")),
    }
}

/// Anthropic requires the limit; OpenAI has two names for it, of which the newer one counts.
fn max_tokens(wire: Wire, body: &Value) -> Result<Option<u64>, String> {
    let names: &[&str] = match wire {
        Wire::OpenAi => &["max_completion_tokens", "max_tokens"],
        Wire::Anthropic => &["max_tokens"],
    };
    match names
        .iter()
        .find_map(|name| body.get(*name).filter(|value| !value.is_null()))
    {
        Some(value) => match value.as_u64() {
            Some(max) if max > 0 => Ok(Some(max)),
            _ => Err(format!("max_tokens: expected an integer above 0, got {value}")),
        },
        None if wire == Wire::Anthropic => Err("max_tokens: Field required".into()),
        None => Ok(None),
    }
}

fn check_temperature(wire: Wire, body: &Value) -> Result<(), String> {
    let limit = if wire == Wire::OpenAi { 2.0 } else { 1.0 };
    match body.get("temperature") {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_f64().is_some_and(|given| (0.0..=limit).contains(&given)) => Ok(()),
        Some(value) => Err(format!(
            "temperature: expected a number between 0 and {limit}, got {value}"
        )),
    }
}

/// A text, or the joined text parts of a list; parts of another type (images, tool results) count as nothing.
fn content_text(content: &Value) -> Result<String, String> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => Ok(parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect::<Vec<_>>()
            .join("\n")),
        other => Err(format!(
            "content: expected a string or a list of parts, got {other}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_formats_mean_the_same_call() -> Result<(), String> {
        let turns = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
            {"role": "user", "content": [{"type": "text", "text": "why?"}]}]);
        let mut with_system = vec![json!({"role": "system", "content": "You are the Life Coach."})];
        with_system.extend(turns.as_array().cloned().unwrap_or_default());
        let openai = Call::parse(
            Wire::OpenAi,
            &json!({"model": "m", "messages": with_system, "max_tokens": 9}),
        )?;
        let anthropic = Call::parse(
            Wire::Anthropic,
            &json!({"model": "m", "system": [{"type": "text", "text": "You are the Life Coach."}], "messages": turns,
                "max_tokens": 9}),
        )?;
        assert_eq!(
            Call {
                wire: Wire::OpenAi,
                ..anthropic
            },
            openai
        );
        assert_eq!((openai.last_user(), openai.earlier_turns()), ("why?", 1));
        assert_eq!(openai.input_tokens(), 6 + 1 + 2 + 1);
        Ok(())
    }

    #[test]
    fn what_the_providers_refuse_is_refused() {
        let user = json!([{"role": "user", "content": "hi"}]);
        let refused = [
            (Wire::OpenAi, json!({"messages": user})),
            (Wire::OpenAi, json!({"model": "m", "messages": []})),
            (
                Wire::OpenAi,
                json!({"model": "m", "messages": user, "stream_options": {"include_usage": true}}),
            ),
            (
                Wire::OpenAi,
                json!({"model": "m", "messages": user, "temperature": 2.1}),
            ),
            (
                Wire::OpenAi,
                json!({"model": "m", "messages": user, "stream": "yes"}),
            ),
            (
                Wire::OpenAi,
                json!({"model": "m", "messages": [{"role": "boss", "content": "hi"}]}),
            ),
            (Wire::Anthropic, json!({"model": "m", "messages": user})),
            (
                Wire::Anthropic,
                json!({"model": "m", "messages": user, "max_tokens": 0}),
            ),
            (
                Wire::Anthropic,
                json!({"model": "m", "messages": user, "max_tokens": 9, "temperature": 1.5}),
            ),
            (
                Wire::Anthropic,
                json!({"model": "m", "max_tokens": 9, "messages": [{"role": "system", "content": "x"}]}),
            ),
            (
                Wire::Anthropic,
                json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": ""}]}),
            ),
        ];
        for (wire, body) in refused {
            assert!(Call::parse(wire, &body).is_err(), "{wire:?} accepted {body}");
        }
    }
}
