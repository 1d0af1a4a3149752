//! Admission: everything that is decided before a call goes upstream.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::catalogue::{self, Model};
use super::claim::{Claim, Seen, Taken, in_progress, lost};
use super::driver::{self, Plan, Running};
use super::history::{Conversation, Turn, title};
use super::meter::Meter;
use super::prompt::{self, Prompt};
use super::receipt::Answer;
use super::{pricing, settlement};
use crate::app::App;
use crate::clock::Stopwatch;
use crate::context::Context;
use crate::domain::agents::{Agent, presets};
use crate::domain::ledger::{HoldRequest, Memo, Refused, Reservation, Reserve, reserve};
use crate::domain::manner;
use crate::domain::plans::Pool;
use crate::domain::users::Account;
use crate::domain::workspaces::Workspace;
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, ConversationId, UserId};
use crate::ports::ai::{ModelCall, Providers};
use crate::store::db::Batch;
use crate::store::keys::{self, Key};

/// The longest answer that is asked for when the caller does not say.
const DEFAULT_MAX_TOKENS: u32 = 4_096;

/// The shortest answer that is worth a call: a balance that does not cover it is not enough.
const MIN_TOKENS: u32 = 64;

/// How long a hold lives without a checkpoint.
pub(super) const HOLD_LIFE: SignedDuration = SignedDuration::from_secs(120);

/// A message to an agent.
#[derive(Debug, Clone, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskRequest {
    /// What the user says, 1 to 32,000 characters.
    #[garde(length(chars, min = 1, max = 32_000), custom(not_blank))]
    #[schema(min_length = 1, max_length = 32_000)]
    pub message: String,
    /// The conversation to go on with; without it a new one begins.
    #[garde(skip)]
    pub conversation_id: Option<ConversationId>,
    /// Another model than the agent's.
    #[garde(length(bytes, min = 1, max = 100))]
    pub model: Option<String>,
    /// How many tokens the answer may have at most; 4,096 unless told, and never more than the model allows.
    #[garde(range(min = 1))]
    pub max_tokens: Option<u32>,
}

fn not_blank(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() {
        Err(garde::Error::new("must not be blank"))
    } else {
        Ok(())
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The request's cause.
    pub context: Context,
    /// Who asks.
    pub user: UserId,
    /// Whom.
    pub agent: AgentId,
    /// The id of the call, should there be one.
    pub call: CallId,
    /// The conversation: the one that the request names, or a fresh id.
    pub conversation: ConversationId,
    /// What is asked.
    pub request: AskRequest,
    /// When the answer must have ended and been settled.
    pub deadline: Timestamp,
    /// When the function is killed, whatever it does.
    pub killed: Timestamp,
    /// Since the request came in.
    pub watch: Stopwatch,
}

/// The items that a call needs besides those that prove the permission.
#[derive(Debug)]
pub struct Items {
    /// The agent.
    pub agent: Option<Agent>,
    /// The caller's own account.
    pub account: Option<Account>,
    /// The conversation that the request names.
    pub conversation: Option<Conversation>,
}

impl Items {
    /// Their keys.
    pub fn keys(ask: &Ask) -> Vec<Key> {
        let conversation = ask
            .request
            .conversation_id
            .map(|id| keys::conversation(ask.agent, ask.user, id));
        [keys::agent(ask.agent), keys::account(ask.user)]
            .into_iter()
            .chain(conversation)
            .collect()
    }

    /// Out of what was read together.
    ///
    /// # Errors
    /// `Internal` when an item has another shape.
    pub fn read(batch: &mut Batch, ask: &Ask) -> Result<Self> {
        Ok(Self {
            agent: batch.read(&keys::agent(ask.agent))?,
            account: batch.read(&keys::account(ask.user))?,
            conversation: batch.read(&keys::conversation(ask.agent, ask.user, ask.conversation))?,
        })
    }
}

/// What the first round trip brought.
#[derive(Debug)]
pub struct Found {
    /// The workspace, in which the caller may use agents.
    pub workspace: Workspace,
    /// What else was read with it.
    pub items: Items,
    /// The end of the conversation that the request names, newest first.
    pub tail: Vec<Turn>,
    /// Whose the Idempotency-Key is.
    pub claim: Taken,
    /// The AI providers that there are keys for.
    pub providers: Providers,
}

/// What became of a message.
#[derive(Debug)]
pub enum Begun {
    /// A call runs.
    Running(Running),
    /// The same request was answered before; this is that answer.
    Replayed(Box<Answer>),
}

/// Begins a call, or gives the answer back that the same request got before. When it refuses, the Idempotency-Key is
/// free again and nothing was changed.
///
/// # Errors
/// `InProgress` while the first request under the key runs; `NotFound`, the conflicts `agent_inactive` and
/// `model_unavailable`, `Invalid`, `SubscriptionRequired`, `InsufficientCbt`, `CbtHeld`.
pub async fn begin(app: &App, ask: Ask, found: Found) -> Result<Begun> {
    let claim = match &found.claim {
        Taken::Ours(claim) => claim.clone(),
        Taken::Theirs(claim) => match claim.look(app).await? {
            Seen::Answered(stored) => {
                return settlement::replay(app, &stored.0, &stored.1)
                    .await
                    .map(Begun::Replayed);
            }
            Seen::Running => return Err(in_progress()),
            Seen::Lost => return Err(lost()),
            Seen::Abandoned => {
                claim
                    .take_over(app, ask.call, ask.conversation, ask.killed)
                    .await?
            }
        },
    };
    match prepare(app, ask, found, claim.clone()).await {
        Ok(plan) => Ok(Begun::Running(driver::start(app, plan))),
        Err(error) => {
            claim.release(app).await;
            Err(error)
        }
    }
}

async fn prepare(app: &App, ask: Ask, found: Found, claim: Claim) -> Result<Plan> {
    if app.clock().now() >= ask.deadline {
        return Err(Error::Unavailable(
            "the function has no time left for a call".into(),
        ));
    }
    let agent = found.items.agent.as_ref().ok_or(Error::NotFound)?;
    found.workspace.agent_within_limit(ask.agent)?;
    if ask.request.conversation_id.is_some() && found.items.conversation.is_none() {
        return Err(Error::NotFound);
    }
    agent.must_be_active()?;
    let model = model(&ask.request, agent, &found)?;
    let max_tokens = max_tokens(&ask.request, model)?;
    let preset = presets::by_id(&agent.preset_id)
        .ok_or_else(|| Error::internal(format!("agent {} has no preset", agent.id)))?;
    let system = manner::prompt(
        preset.prompt,
        found.workspace.default_tone,
        found.workspace.default_locale.as_deref(),
    );
    let prompt = Prompt::fit(model, &system, &found.tail, &ask.request.message, max_tokens)?;
    let (reservation, max_tokens) =
        set_aside(app, &ask, &found.workspace, model, prompt.tokens, max_tokens).await?;
    let conversation = found.items.conversation.unwrap_or_else(|| fresh(&ask));
    Ok(Plan {
        dropped_turns: conversation.turns.saturating_sub(prompt.turns),
        conversation,
        claim,
        model,
        cbt_price: app.config().cbt_price.clone(),
        prompt_tokens: prompt.tokens,
        prompt_version: prompt::version(preset, &system),
        upstream: ModelCall {
            provider: model.provider,
            model: model.id.to_owned(),
            system: prompt.system,
            messages: prompt.messages,
            max_tokens,
        },
        reservation,
        message: ask.request.message,
        deadline: ask.deadline,
        context: ask.context,
        meter: Meter::start(ask.watch),
    })
}

/// How many messages an hour an agent takes: the plan's of whoever pays. `None` is unlimited.
///
/// # Errors
/// `SubscriptionRequired` when the caller would pay and has no account.
pub fn messages_per_hour(workspace: &Workspace, caller: Option<&Account>) -> Result<Option<u32>> {
    let plan = match workspace.pool() {
        Pool::Own => caller.ok_or(Error::SubscriptionRequired)?.plan,
        Pool::Shared => workspace.plan,
    };
    Ok(plan.messages_per_hour())
}

fn fresh(ask: &Ask) -> Conversation {
    Conversation {
        id: ask.conversation,
        agent_id: ask.agent,
        user_id: ask.user,
        workspace_id: ask.agent.workspace(),
        title: title(&ask.request.message),
        turns: 0,
        created_at: ask.context.now,
        last_at: ask.context.now,
    }
}

/// The model of the request, else of the agent, else of the workspace, else the catalogue's default.
fn model(request: &AskRequest, agent: &Agent, found: &Found) -> Result<&'static Model> {
    let providers = &found.providers;
    let named = agent.model.as_ref().or(found.workspace.default_model.as_ref());
    let unavailable = |detail: &str| Error::Conflict {
        code: "model_unavailable",
        detail: detail.into(),
    };
    let usable = |id: &str| catalogue::find(id).filter(|m| providers.has(m.provider));
    match (&request.model, named) {
        (Some(id), _) => {
            usable(id).ok_or_else(|| Error::field("model", "is not a model that is offered here"))
        }
        (None, Some(id)) => usable(id).ok_or_else(|| {
            unavailable("the model of the agent, or of its workspace, is not offered here any more")
        }),
        (None, None) => {
            catalogue::default_for(providers).ok_or_else(|| unavailable("no AI provider is configured"))
        }
    }
}

fn max_tokens(request: &AskRequest, model: &Model) -> Result<u32> {
    match request.max_tokens {
        None => Ok(DEFAULT_MAX_TOKENS.min(model.max_output)),
        Some(n) if n <= model.max_output => Ok(n),
        Some(_) => Err(Error::field(
            "maxTokens",
            format!("must be at most {} for {}", model.max_output, model.id),
        )),
    }
}

/// Sets the upper estimate of the call aside; when the balance covers less, a shorter answer, down to `MIN_TOKENS`.
/// Answers the hold and the answer's bound.
async fn set_aside(
    app: &App,
    ask: &Ask,
    workspace: &Workspace,
    model: &Model,
    input: u64,
    max_tokens: u32,
) -> Result<(Reservation, u32)> {
    let (now, cbt) = (app.clock().now(), &app.config().cbt_price);
    let mut request = HoldRequest {
        account: workspace.payer(ask.user),
        call: ask.call,
        amount: pricing::hold(&model.price, cbt, input, max_tokens)?,
        memo: Memo {
            user: ask.user,
            agent: ask.agent,
            conversation: Some(ask.conversation),
            reason: None,
        },
        expires_at: now.checked_add(HOLD_LIFE).map_err(Error::internal)?,
        capped: workspace.allocation.is_some(),
    };
    // Boxed, as what a lost answer takes would otherwise be room in the future of every call.
    let refused = match Box::pin(reserve(app, &request)).await? {
        Reserve::Held(reservation) => return Ok((reservation, max_tokens)),
        Reserve::Refused(refused) => refused,
    };
    let least = MIN_TOKENS.min(max_tokens);
    let wanted = pricing::hold(&model.price, cbt, input, least)?;
    let affordable = pricing::affordable(&model.price, cbt, input, refused.available).min(max_tokens);
    if affordable < least {
        return Err(Refused { wanted, ..refused }.error());
    }
    request.amount = pricing::hold(&model.price, cbt, input, affordable)?;
    match Box::pin(reserve(app, &request)).await? {
        Reserve::Held(reservation) => Ok((reservation, affordable)),
        Reserve::Refused(refused) => Err(Refused { wanted, ..refused }.error()),
    }
}
