//! Functions behind API Gateway.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, StreamAdapter};
use lambda_runtime::{FunctionResponse, LambdaEvent, service_fn};
use tower::{Service, ServiceExt};
use utoipa_axum::router::OpenApiRouter;

use super::Outcome;
use crate::app::App;
use crate::http::edge;

/// Serves routes whose answers are buffered.
///
/// # Errors
/// When the Runtime API fails.
pub async fn buffered(routes: OpenApiRouter<App>, app: App) -> Outcome {
    lambda_http::run(lambda_service(edge::service(routes, app, edge::BUFFERED))).await
}

/// Serves a function of which some routes stream: `streams` says which, as template.yaml does for API Gateway. The
/// two kinds of answer differ on the wire, so that a route must be one or the other, errors included.
///
/// # Errors
/// When the Runtime API fails.
pub async fn mixed(routes: OpenApiRouter<App>, app: App, streams: fn(&Method, &str) -> bool) -> Outcome {
    let router = edge::service(routes, app, edge::STREAMING);
    let handler = service_fn(move |event: LambdaEvent<LambdaRequest>| {
        let service = lambda_service(router.clone());
        async move {
            if is_streaming(&event.payload, streams) {
                let answer = StreamAdapter::from(service).oneshot(event).await?;
                return Ok::<_, Infallible>(FunctionResponse::StreamingResponse(answer));
            }
            let answer = Adapter::from(service).call(event).await?;
            Ok(FunctionResponse::BufferedResponse(answer))
        }
    });
    lambda_runtime::run(handler).await
}

fn is_streaming(request: &LambdaRequest, streams: fn(&Method, &str) -> bool) -> bool {
    match request {
        LambdaRequest::ApiGatewayV1(event) => {
            streams(&event.http_method, event.path.as_deref().unwrap_or_default())
        }
        LambdaRequest::ApiGatewayV2(event) => streams(
            &event.request_context.http.method,
            event.raw_path.as_deref().unwrap_or_default(),
        ),
        _ => false,
    }
}

/// axum's router as a service of Lambda's requests.
pub fn lambda_service(
    router: Router,
) -> impl Service<
    lambda_http::Request,
    Response = http::Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<http::Response<Body>, Infallible>> + Send,
> + Clone
+ Send {
    tower::service_fn(move |request: lambda_http::Request| {
        let router = router.clone();
        async move { router.oneshot(into_axum(request)).await }
    })
}

fn into_axum(request: lambda_http::Request) -> Request<Body> {
    request.map(|body| match body {
        lambda_http::Body::Empty => Body::empty(),
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    })
}
