//! Pagination: `?limit=&cursor=`, answered with `{items, nextCursor}`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How many items a page has when the caller does not say.
pub const DEFAULT_LIMIT: u32 = 50;
/// How many items a page has at most.
pub const MAX_LIMIT: u32 = 100;

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is whole.
    pub fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }

    /// The same page with other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// Which page is wanted, already validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    limit: u32,
    after: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            after: None,
        }
    }
}

impl PageRequest {
    /// From the query's `limit` and `cursor`.
    ///
    /// A cursor is the sort key of the last item, base64url; the partition comes from the route, so a cursor that
    /// somebody made up only moves within what its sender may read anyway.
    ///
    /// # Errors
    /// `Invalid` on `query.limit` or `query.cursor`.
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> Result<Self> {
        let limit = match limit {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=MAX_LIMIT).contains(n))
                .ok_or_else(|| {
                    Error::field(
                        "query.limit",
                        format!("must be a whole number from 1 to {MAX_LIMIT}"),
                    )
                })?,
        };
        let after = cursor
            .map(|text| {
                decode(text).ok_or_else(|| Error::field("query.cursor", "is not a cursor of this list"))
            })
            .transpose()?;
        Ok(Self { limit, after })
    }

    /// For our own reads: the first `limit` items, which may be more than a caller may ask for.
    pub fn of(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// As many items as here, after another sort key.
    pub fn starting_after(&self, sort_key: impl Into<String>) -> Self {
        Self {
            limit: self.limit,
            after: Some(sort_key.into()),
        }
    }

    /// How many items at most.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The sort key after which the page starts.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
}

/// The cursor that continues after the item with this sort key.
pub fn cursor(sort_key: &str) -> String {
    data_encoding::BASE64URL_NOPAD.encode(sort_key.as_bytes())
}

fn decode(cursor: &str) -> Option<String> {
    let bytes = data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    // DynamoDB's bound for a sort key; an empty one is refused by the engine.
    (1..=1024).contains(&text.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_sort_key() {
        let page = PageRequest::parse(Some("7"), Some(&cursor("AGENT#x")));
        assert!(
            matches!(&page, Ok(p) if p.after() == Some("AGENT#x") && p.limit() == 7),
            "{page:?}"
        );
    }

    #[test]
    fn a_bad_page_names_its_field() {
        for (limit, cursor, field) in [
            (Some("0"), None, "query.limit"),
            (Some("101"), None, "query.limit"),
            (Some("x"), None, "query.limit"),
            (None, Some("%%"), "query.cursor"),
            (None, Some(""), "query.cursor"),
        ] {
            let error = PageRequest::parse(limit, cursor);
            assert!(
                matches!(&error, Err(Error::Invalid(f)) if f[0].field == field),
                "{error:?}"
            );
        }
    }
}
