//! What clients of the local stack talk to: passes requests on to `cargo lambda watch`, and answers 429 to an address that
//! asks too often, as the firewall does in the cloud. `gateway --port 9000 --to http://127.0.0.1:9001 [--limit 1000]`
//!
//! Ends on SIGTERM, and when its standard input is a pipe that closes.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use camarad::clock::{Clock, SystemClock};
use camarad_tests::gateway::{ADDRESS, Addresses, is_public};
use camarad_tests::parent::parent_gone;
use http::{HeaderMap, HeaderName, StatusCode, header};

const USAGE: &str = "usage: gateway --port PORT --to URL [--limit REQUESTS_AN_HOUR]";

/// Headers of one connection, not of the message (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// More than any route takes.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

struct Gateway {
    to: String,
    addresses: Addresses,
    client: reqwest::Client,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "gateway: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let (mut port, mut to, mut limit) = (9_000_u16, String::new(), ADDRESS.max);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--port" => port = value.parse().map_err(|_| USAGE)?,
            "--to" => to = value,
            "--limit" => limit = value.parse().map_err(|_| USAGE)?,
            _ => return Err(USAGE.into()),
        }
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| e.to_string())?;
    let gateway = Arc::new(Gateway {
        to,
        addresses: Addresses::new(ADDRESS.of(limit.max(1))),
        client,
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|e| e.to_string())?;
    let router = Router::new().fallback(pass).with_state(gateway);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        served = async { axum::serve(listener, service).await } => served.map_err(|e| e.to_string()),
        () = parent_gone() => Ok(()),
    }
}

async fn pass(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if is_public(parts.uri.path())
        && let Err(error) = gateway.addresses.admit(&peer.ip().to_string(), SystemClock.now())
    {
        return gateway.addresses.refusal(&error);
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return told(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let sent = gateway
        .client
        .request(parts.method, format!("{}{path}", gateway.to))
        .headers(kept(&parts.headers))
        .body(body)
        .send()
        .await;
    match sent {
        Err(_) => told(StatusCode::SERVICE_UNAVAILABLE),
        Ok(answer) => {
            let (status, headers) = (answer.status(), kept(answer.headers()));
            let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
    }
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    HOP_BY_HOP.iter().for_each(|name| drop(kept.remove(name)));
    kept
}

fn told(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
