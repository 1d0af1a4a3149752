//! A successful answer: status and the exact bytes of its body, so that a replay under an Idempotency-Key is equal
//! byte for byte. The type parameter says what the bytes are, for handlers and for the OpenAPI document.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// An answer whose body is a `T` as JSON; `Reply<()>` has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// 200, 201, 202 or 204.
    pub status: u16,
    /// JSON, or empty.
    pub body: String,
    /// Whether an Idempotency-Key brought the first answer back.
    pub replayed: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> Reply<T> {
    /// An answer from its stored parts.
    pub fn stored(status: u16, body: String) -> Self {
        Self {
            status,
            body,
            replayed: true,
            of: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Reply<T> {
    /// What the answer says, for headers that repeat a part of it.
    ///
    /// # Errors
    /// `Internal` when a stored answer has an older shape.
    pub fn value(&self) -> Result<T> {
        serde_json::from_str(&self.body).map_err(Error::internal)
    }
}

impl<T: Serialize> Reply<T> {
    fn json(status: u16, value: &T) -> Result<Self> {
        let body = serde_json::to_string(value).map_err(Error::internal)?;
        Ok(Self {
            status,
            body,
            replayed: false,
            of: PhantomData,
        })
    }

    /// 200 with a body.
    pub fn ok(value: &T) -> Result<Self> {
        Self::json(200, value)
    }

    /// 201 with a body.
    pub fn created(value: &T) -> Result<Self> {
        Self::json(201, value)
    }

    /// 202 with a body: accepted, and done soon.
    pub fn accepted(value: &T) -> Result<Self> {
        Self::json(202, value)
    }
}

impl Reply<()> {
    /// 204.
    pub fn no_content() -> Self {
        Self {
            status: 204,
            body: String::new(),
            replayed: false,
            of: PhantomData,
        }
    }
}
