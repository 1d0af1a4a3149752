//! A file as the body of an answer, sent as it is made.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};

use crate::error::Result;

/// What a file is made of, piece by piece.
pub trait Pieces: Send + 'static {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When there is no next piece although this is not the end: the body breaks off.
    fn next(&mut self) -> impl Future<Output = Result<Option<String>>> + Send;
}

/// The file under this name. A failure breaks the body off, and is logged under the request's id: what was sent has no
/// end, so nobody takes it for whole.
pub fn file(name: &str, media_type: &str, pieces: impl Pieces, request_id: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, media_type.to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        // Keeps nginx and its kind from collecting the stream first.
        (HeaderName::from_static("x-accel-buffering"), "no".to_owned()),
    ];
    (headers, streamed(pieces, request_id.to_owned())).into_response()
}

fn streamed(pieces: impl Pieces, request_id: String) -> Body {
    Body::from_stream(stream::try_unfold(
        (pieces, request_id),
        |(mut pieces, request_id)| async move {
            match pieces.next().await {
                Ok(Some(piece)) => Ok(Some((piece, (pieces, request_id)))),
                Ok(None) => Ok(None),
                Err(error) => {
                    tracing::error!(request.id = request_id, error = %error, cause = ?error, "an export broke off");
                    Err(error)
                }
            }
        },
    ))
}

impl Pieces for crate::domain::audit::export::Export {
    fn next(&mut self) -> impl Future<Output = Result<Option<String>>> + Send {
        Self::next(self)
    }
}

impl Pieces for crate::domain::usage::export::Export {
    fn next(&mut self) -> impl Future<Output = Result<Option<String>>> + Send {
        Self::next(self)
    }
}

impl Pieces for crate::domain::ledger::export::Export {
    fn next(&mut self) -> impl Future<Output = Result<Option<String>>> + Send {
        Self::next(self)
    }
}
