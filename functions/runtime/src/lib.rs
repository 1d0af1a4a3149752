//! `/api/agents/{id}/chat`, `stream`, `calls` and `conversations`: talking to agents.

mod ask;
mod sse;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use camarad::app::App;
use camarad::domain::permissions::grant;
use camarad::domain::runtime::{
    self, Answer, AskRequest, Begun, ConversationView, Out, Receipt, Running, Stopping, TurnView,
};
use camarad::error::{Error, Result};
use camarad::http::member::path_id;
use camarad::http::problem::{ProviderWriteProblems, ReadProblems, WriteProblems};
use camarad::http::{AgentMember, Once, Paging};
use camarad::ids::{AgentId, CallId, ConversationId};
use camarad::reply::Reply;
use camarad::store::Page;
use http::Method;
use http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use ask::Asked;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(chat))
        .routes(routes!(stream))
        .routes(routes!(stop))
        .routes(routes!(receipt))
        .routes(routes!(conversations))
        .routes(routes!(turns))
}

/// Which of them stream, as template.yaml tells API Gateway. `chat` is one of them because a buffered integration gives
/// up after 29 seconds while the call goes on and is charged.
pub fn streams(method: &Method, path: &str) -> bool {
    *method == Method::POST && (path.ends_with("/chat") || path.ends_with("/stream"))
}

/// Ask an agent, and get the whole answer
///
/// The call is charged for exactly what came. With an Idempotency-Key that was used before, the first answer comes back;
/// while the first request runs, 409 `idempotency_in_progress`. A call that breaks off after its first word is an answer
/// with the status `cut`, not an error.
#[utoipa::path(post, path = "/api/agents/{id}/chat", tag = "runtime", request_body = AskRequest,
    params(("id" = AgentId, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = Answer), ProviderWriteProblems))]
async fn chat(State(app): State<App>, asked: Asked) -> Result<Reply<Answer>> {
    let answer = match runtime::begin(&app, asked.ask, asked.found).await? {
        Begun::Replayed(answer) => return Ok(Reply::stored(200, Reply::ok(&*answer)?.body)),
        Begun::Running(running) => outcome(running).await?,
    };
    Reply::ok(&answer)
}

/// Ask an agent, and get the answer as it is made
///
/// Server-sent events: `start` {callId, conversationId, model}, `delta` {text} as often as text comes, `error` {problem}
/// if the answer breaks off, `done` {receipt} when the call is settled. A comment comes at least every 15 seconds. Whoever
/// leaves early is charged in full and finds the answer in the history; `stop` ends a call.
#[utoipa::path(post, path = "/api/agents/{id}/stream", tag = "runtime", request_body = AskRequest,
    params(("id" = AgentId, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream"), ProviderWriteProblems))]
async fn stream(State(app): State<App>, asked: Asked) -> Result<Response> {
    let request_id = asked.ask.context.request_id.clone();
    match runtime::begin(&app, asked.ask, asked.found).await? {
        Begun::Replayed(answer) => Ok(sse::replayed(&answer)),
        Begun::Running(mut running) => match running.events.recv().await {
            // Before the first word an error is an HTTP error.
            Some(Out::Failed(error)) => Err(error),
            Some(first) => Ok(sse::live(running, first, request_id)),
            None => Err(no_outcome()),
        },
    }
}

/// What a running call comes to.
async fn outcome(mut running: Running) -> Result<Answer> {
    while let Some(out) = running.events.recv().await {
        match out {
            Out::Done(answer) => return Ok(*answer),
            Out::Failed(error) => return Err(error),
            Out::Delta(_) | Out::Broken(_) => {}
        }
    }
    Err(no_outcome())
}

fn no_outcome() -> Error {
    Error::internal("a call's driver ended without an outcome")
}

/// Stop a call
///
/// The call hears of it within about a second. What it produced by then is stored and charged; its receipt tells.
#[utoipa::path(post, path = "/api/agents/{id}/calls/{callId}/stop", tag = "runtime",
    params(("id" = AgentId, Path), ("callId" = CallId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Stopping), WriteProblems))]
async fn stop(
    State(app): State<App>,
    who: AgentMember<grant::AgentsUse>,
    CallPath(call): CallPath,
    once: Once,
) -> Result<Reply<Stopping>> {
    let which = (call, who.member.caller.user, who.agent()?.id);
    once.run(&app, runtime::stop(&app, who.context(), once.key(), which))
        .await
}

/// The receipt of a call
///
/// While the call runs, the figures are those so far.
#[utoipa::path(get, path = "/api/agents/{id}/calls/{callId}", tag = "runtime",
    params(("id" = AgentId, Path), ("callId" = CallId, Path)),
    responses((status = 200, body = Receipt), ReadProblems))]
async fn receipt(
    State(app): State<App>,
    who: AgentMember<grant::AgentsUse>,
    CallPath(call): CallPath,
) -> Result<Reply<Receipt>> {
    Reply::ok(&runtime::receipt(&app, call, who.member.caller.user, who.agent()?.id).await?)
}

/// The caller's conversations with an agent, newest first
#[utoipa::path(get, path = "/api/agents/{id}/conversations", tag = "runtime",
    params(("id" = AgentId, Path), ("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<ConversationView>), ReadProblems))]
async fn conversations(
    State(app): State<App>,
    who: AgentMember<grant::AgentsUse>,
    Paging(page): Paging,
) -> Result<Reply<Page<ConversationView>>> {
    let (agent, user) = (who.agent()?.id, who.member.caller.user);
    Reply::ok(&runtime::conversations(&app, agent, user, &page).await?)
}

/// The turns of a conversation, oldest first
#[utoipa::path(get, path = "/api/agents/{id}/conversations/{conversationId}/turns", tag = "runtime",
    params(("id" = AgentId, Path), ("conversationId" = ConversationId, Path),
        ("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told; a page may have fewer and still go on"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<TurnView>), ReadProblems))]
async fn turns(
    State(app): State<App>,
    who: AgentMember<grant::AgentsUse>,
    ConversationPath(conversation): ConversationPath,
    Paging(page): Paging,
) -> Result<Reply<Page<TurnView>>> {
    let which = (who.agent()?.id, who.member.caller.user, conversation);
    Reply::ok(&runtime::turns(&app, which, &page).await?)
}

/// The path's `{callId}`.
struct CallPath(CallId);

impl FromRequestParts<App> for CallPath {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        path_id(parts, app, "callId").await.map(Self)
    }
}

/// The path's `{conversationId}`.
struct ConversationPath(ConversationId);

impl FromRequestParts<App> for ConversationPath {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        path_id(parts, app, "conversationId").await.map(Self)
    }
}
