//! The lines of an archive, on their way to whoever reads it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Sender;

use crate::error::{Error, Result};

/// How much is gathered before it is sent.
const CHUNK: usize = 32 * 1024;

/// Where lines go.
pub(super) struct Lines {
    to: Sender<Result<Bytes>>,
    chunk: Vec<u8>,
    hash: Sha256,
    counts: BTreeMap<String, u64>,
}

impl Lines {
    pub(super) fn to(to: Sender<Result<Bytes>>) -> Self {
        Self {
            to,
            chunk: Vec::with_capacity(CHUNK),
            hash: Sha256::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Adds a line. Waits while the reader is behind.
    ///
    /// # Errors
    /// `Unavailable` when the reader has left.
    pub(super) async fn add(&mut self, kind: &str, item: impl Serialize) -> Result<()> {
        let line = serde_json::to_string(&json!({ "kind": kind, "item": item })).map_err(Error::internal)?;
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        self.chunk.extend_from_slice(line.as_bytes());
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.hash.update(&chunk);
        let sent = self.to.send(Ok(Bytes::from(chunk))).await;
        sent.map_err(|_| Error::Unavailable("the reader of the archive has left".into()))
    }

    /// Adds the last line.
    ///
    /// # Errors
    /// As `add`.
    pub(super) async fn end(mut self) -> Result<()> {
        self.send().await?;
        let sha256 = data_encoding::HEXLOWER.encode(&self.hash.clone().finalize());
        let counts = std::mem::take(&mut self.counts);
        self.add("end", json!({ "counts": counts, "sha256": sha256 }))
            .await?;
        self.send().await
    }
}
