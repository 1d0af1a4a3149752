//! The extractor of a message to an agent: who, may they, is it valid, was it done before, is it too much, and whatever
//! else the call needs from the table, all in one round trip.

use axum::extract::{FromRequest, FromRequestParts, Request};
use camarad::app::App;
use camarad::clock::Stopwatch;
use camarad::config::Config;
use camarad::domain::permissions::grant;
use camarad::domain::runtime::{self, Ask, AskRequest, Found, Items, Taken};
use camarad::error::{Error, Result};
use camarad::http::caller::{Claimed, authenticate};
use camarad::http::limit::note;
use camarad::http::member::{admit, path_id};
use camarad::http::{Body, Deadline, Member, OnceRequired};
use camarad::ids::{AgentId, CallId, ConversationId};
use camarad::ports::ai::{Providers, Upstream};
use camarad::store::db::Batch;
use camarad::store::limits::{Count, MESSAGES};
use camarad::store::tx::OnceKey;
use http::request::Parts;

/// A message that was admitted as far as one round trip can tell.
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) found: Found,
}

impl FromRequest<App> for Asked {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let watch = Stopwatch::start();
        let (mut parts, body) = request.into_parts();
        // Who comes first: a stranger learns nothing from how an id is written.
        let claimed = authenticate(&parts, app).await?;
        let agent: AgentId = match path_id(&mut parts, app, "id").await {
            Ok(id) => id,
            Err(error) => return Err(claimed.settle(&parts, app).await.err().unwrap_or(error)),
        };
        let deadline = Deadline::from_request_parts(&mut parts, app).await?;
        let once = OnceRequired::from_request_parts(&mut parts, app).await;
        let body = Body::from_request(Request::from_parts(parts.clone(), body), app).await;
        let (Body(request), OnceRequired(once)) = match (body, once) {
            (Ok(body), Ok(once)) => (body, once),
            (Err(error), _) | (_, Err(error)) => {
                // Then whether they may: what is wrong with a message is told to those who may send one.
                admit::<grant::AgentsUse>(&parts, app, agent.workspace(), &[]).await?;
                return Err(error);
            }
        };
        let ask = ask(app, &claimed, agent, request, deadline, watch);
        Box::pin(find(&parts, app, ask, &once)).await
    }
}

fn ask(
    app: &App,
    claimed: &Claimed,
    agent: AgentId,
    request: AskRequest,
    deadline: Deadline,
    watch: Stopwatch,
) -> Ask {
    let conversation = request
        .conversation_id
        .unwrap_or_else(|| ConversationId::new(app.clock()));
    Ask {
        context: claimed.context.clone(),
        user: claimed.user,
        agent,
        call: CallId::new(app.clock()),
        conversation,
        request,
        deadline: deadline.0,
        killed: deadline.killed(),
        watch,
    }
}

/// The round trip: one batch read; beside it both rate counters, the conversation's end and the claim of the key.
async fn find(parts: &Parts, app: &App, ask: Ask, once: &OnceKey) -> Result<Asked> {
    // The whole id, as the agent of a made-up one shares its last part with a real agent of another workspace.
    let (who, now) = (ask.agent.to_string(), ask.context.now);
    let wanted = Items::keys(&ask);
    let (admitted, tail, claim, counted, providers) = tokio::join!(
        admit::<grant::AgentsUse>(parts, app, ask.agent.workspace(), &wanted),
        runtime::tail(app, ask.request.conversation_id),
        runtime::take(app, once, ask.call, ask.conversation, (now, ask.killed)),
        app.limits().count(app.db(), MESSAGES, &who, now),
        providers(app),
    );
    let was_counted = counted.as_ref().is_ok_and(Option::is_some);
    let ours = claim.as_ref().ok().and_then(|c| {
        if let Taken::Ours(claim) = c {
            Some(claim.clone())
        } else {
            None
        }
    });
    let found = async {
        let (member, mut read) = admitted?;
        let items = judge(parts, &ask, &member, &mut read, counted?)?;
        Ok(Found {
            workspace: member.workspace,
            items,
            tail: tail?,
            claim: claim?,
            providers: providers?,
        })
    };
    let error = match found.await {
        Ok(found) => return Ok(Asked { ask, found }),
        Err(error) => error,
    };
    if was_counted {
        // What is no message must not use up the agent's: of somebody who may not talk to it, or not now.
        app.limits().take_back(app.db(), MESSAGES, &who, now).await;
    }
    if let Some(claim) = ours {
        claim.release(app).await;
    }
    Err(error)
}

/// Reads the items, and holds the count against the plan of whoever pays.
fn judge(
    parts: &Parts,
    ask: &Ask,
    member: &Member<grant::AgentsUse>,
    read: &mut Batch,
    counted: Option<Count>,
) -> Result<Items> {
    let items = Items::read(read, ask)?;
    if let Some(max) = runtime::messages_per_hour(&member.workspace, items.account.as_ref())? {
        let limit = MESSAGES.of(max);
        note(parts, limit, counted.map(|count| limit.judge(count)).transpose())?;
    }
    Ok(items)
}

async fn providers(app: &App) -> Result<Providers> {
    let secret = Config::need(&app.config().ai_providers_secret, "AI_PROVIDERS_SECRET")?;
    Upstream::new(app.web()?, app.secrets()?, secret)
        .providers()
        .await
}
