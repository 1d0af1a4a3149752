//! Where a request comes from, as API Gateway says it. Headers that a client can write (X-Forwarded-For) are not asked.

use http::Extensions;
use lambda_http::request::RequestContext;

/// The address that API Gateway saw.
pub(super) fn ip(extensions: &Extensions) -> Option<String> {
    match extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip.clone(),
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.clone(),
        _ => None,
    }
}

/// API Gateway's id of the request.
pub(super) fn request_id(extensions: &Extensions) -> Option<String> {
    match extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV1(context) => context.request_id.clone(),
        RequestContext::ApiGatewayV2(context) => context.request_id.clone(),
        _ => None,
    }
}
