//! The wire between one function and AWS, on which things go wrong: what is asked is refused, fails, or is the last that the
//! function does before it is killed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode, header, request};
use serde_json::json;

use super::Deployed;
use crate::visitor::http;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its role does not allow it.
    Denied,
    /// The service fails.
    Down,
    /// The function is killed before its request is carried out.
    DeathBefore,
    /// The function is killed after its request was carried out, and before it hears of it.
    DeathAfter,
}

/// Requests that have all of these texts in their body meet this trouble, so many times.
#[derive(Debug)]
struct Rule {
    texts: Vec<String>,
    trouble: Trouble,
    times: u32,
}

/// A function's way to AWS.
#[derive(Debug)]
pub struct Wire {
    /// Its name, as processes tell it.
    function: String,
    /// Where it listens.
    at: SocketAddr,
    /// Where the local services are.
    to: String,
    rules: Mutex<Vec<Rule>>,
    met: AtomicU32,
}

impl Wire {
    /// From now on requests with all of `texts` in their body meet this trouble, so many times.
    pub fn cross(&self, texts: &[&str], trouble: Trouble, times: u32) {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        self.rules().push(Rule {
            texts,
            trouble,
            times,
        });
    }

    /// No request with this text meets trouble any more.
    pub fn mend(&self, text: &str) {
        self.rules().retain(|rule| !rule.texts.iter().any(|t| t == text));
    }

    /// How many requests have met trouble.
    pub fn met(&self) -> u32 {
        self.met.load(Ordering::SeqCst)
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("no panic holds it")
    }

    fn trouble(&self, body: &[u8]) -> Option<Trouble> {
        let body = String::from_utf8_lossy(body);
        let mut rules = self.rules();
        let fits = |rule: &&mut Rule| rule.times > 0 && rule.texts.iter().all(|t| body.contains(t));
        let rule = rules.iter_mut().find(fits)?;
        rule.times -= 1;
        self.met.fetch_add(1, Ordering::SeqCst);
        Some(rule.trouble)
    }

    async fn pass(&self, parts: &request::Parts, body: Bytes) -> Response {
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let sent = http()
            .request(parts.method.clone(), format!("{}{path}", self.to))
            .headers(kept(&parts.headers))
            .body(body);
        let answer = sent.send().await.expect("the local services answer");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = kept(answer.headers());
        *response.body_mut() = Body::from(answer.bytes().await.expect("a body"));
        response
    }

    /// Kills the function's process on the other end of a connection. Others of the same function are at work on other
    /// tasks.
    fn kill(&self, peer: SocketAddr) {
        let socket = socket(peer, self.at).expect("a connection of this machine");
        let all = processes(&self.function).into_iter();
        let sender = all.filter(|id| holds(*id, &socket)).collect::<Vec<_>>();
        let [process] = sender.as_slice() else {
            panic!("the connection is of the processes {sender:?}")
        };
        let killed = std::process::Command::new("kill")
            .args(["-9", &process.to_string()])
            .status();
        assert!(killed.expect("kill runs").success(), "process {process}");
    }
}

/// Of the connection, not of the message; the host is that of what is signed.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let own: [HeaderName; 3] = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
    ];
    own.iter().for_each(|name| drop(kept.remove(name)));
    kept
}

async fn carry(
    State(wire): State<Arc<Wire>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: http::Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 * 1024 * 1024)
        .await
        .expect("a body");
    match wire.trouble(&body) {
        None => wire.pass(&parts, body).await,
        Some(Trouble::Denied) => told(400, "com.amazon.coral.service#AccessDeniedException"),
        Some(Trouble::Down) => told(500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        Some(Trouble::DeathBefore) => {
            wire.kill(peer);
            told(500, "nobody#Listens")
        }
        Some(Trouble::DeathAfter) => {
            wire.pass(&parts, body).await;
            wire.kill(peer);
            told(500, "nobody#Listens")
        }
    }
}

fn told(status: u16, kind: &str) -> Response {
    let mut response = Response::new(Body::from(json!({"__type": kind, "message": "no"}).to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// The name of the socket of a connection from `own` to `other`, as the links in `/proc/*/fd` tell it.
fn socket(own: SocketAddr, other: SocketAddr) -> Option<String> {
    let (own, other) = (end(own)?, end(other)?);
    let all = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let mut rows = all.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1..3) == Some(&[own.as_str(), other.as_str()]))?;
    Some(format!("socket:[{}]", row.get(9)?))
}

/// An end of a connection as `/proc/net/tcp` tells it: the address as it lies in memory, the port as a number.
fn end(at: SocketAddr) -> Option<String> {
    let SocketAddr::V4(at) = at else { return None };
    let address = u32::from_ne_bytes(at.ip().octets());
    Some(format!("{address:08X}:{:04X}", at.port()))
}

/// Whether a process holds this socket.
fn holds(process: u32, socket: &str) -> bool {
    let open = std::fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten();
    let mut links = open.flatten().filter_map(|entry| entry.path().read_link().ok());
    links.any(|link| link.as_os_str() == socket)
}

/// The processes of a function, which the local services have started under the folder of this test's stack.
fn processes(function: &str) -> Vec<u32> {
    let own = std::process::id();
    let named = format!("AWS_LAMBDA_FUNCTION_NAME={function}");
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let place = PathBuf::from(format!("/proc/{id}"));
        let environment = std::fs::read(place.join("environ")).unwrap_or_default();
        let mut settings = environment.split(|byte| *byte == 0);
        settings.any(|setting| setting == named.as_bytes()) && descends(*id, own)
    })
    .collect()
}

/// Whether `ancestor` started this process, or who started it.
fn descends(mut process: u32, ancestor: u32) -> bool {
    while process > 1 {
        if process == ancestor {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
            return false;
        };
        // The name, in parentheses, may have anything in it; the parent is the second field behind it.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        process = parent.unwrap_or(0);
    }
    false
}

impl Deployed {
    /// Puts a wire between a function, by the name of its folder, and AWS.
    pub(super) async fn wire(&self, folder: &str) -> Arc<Wire> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let at = listener.local_addr().expect("an address");
        let wire = Arc::new(Wire {
            function: self.function(folder),
            at,
            to: self.endpoint().to_owned(),
            rules: Mutex::default(),
            met: AtomicU32::new(0),
        });
        let router = Router::new().fallback(carry).with_state(Arc::clone(&wire));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        self.set(folder, "AWS_ENDPOINT_URL", &format!("http://{at}"))
            .await;
        wire
    }

    /// Changes one variable of a function's environment.
    async fn set(&self, folder: &str, name: &str, value: &str) {
        let (url, now) = self.configuration(folder).await;
        let mut environment = now["Environment"].clone();
        environment["Variables"][name] = json!(value);
        let order = http().put(&url).header("authorization", super::signed("lambda"));
        let done = order
            .body(json!({"Environment": environment}).to_string())
            .send()
            .await;
        let done = done.expect("Lambda answers");
        assert!(done.status().is_success(), "{}", done.status());
    }
}
