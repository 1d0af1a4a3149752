//! Successful answers.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};

use crate::reply::Reply;

/// Tells that an Idempotency-Key brought the first answer back.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl<T> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        if self.body.is_empty() {
            let mut response = status.into_response();
            mark(&mut response, self.replayed);
            return response;
        }
        let mut response = (status, self.body).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        mark(&mut response, self.replayed);
        response
    }
}

fn mark(response: &mut Response, replayed: bool) {
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
}
