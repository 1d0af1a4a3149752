//! The driver: the task that owns a call upstream, from the request to the settlement.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::admission::HOLD_LIFE;
use super::catalogue::Model;
use super::claim::Claim;
use super::history::Conversation;
use super::meter::Meter;
use super::receipt::{Answer, is_running};
use super::settlement;
use crate::app::App;
use crate::cbt_price::CbtPrice;
use crate::config::Config;
use crate::context::Context;
use crate::domain::ledger::{self, Checkpoint, Progress, Reservation};
use crate::error::{Error, Result};
use crate::ids::{CallId, ConversationId};
use crate::ports::ai::{Ai, Cut, Event, ModelCall, Refusal, Upstream};
use crate::store::cost;

/// Pieces of an answer that may wait for a listener.
const CHANNEL: usize = 64;

/// How long a listener that takes nothing is waited for. After that the call goes on without them.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a running call looks whether it shall stop.
const LOOK: Duration = Duration::from_secs(1);

/// Every so many looks is a checkpoint.
const CHECKPOINT: u32 = 5;

/// A call that was admitted: all that the driver needs.
pub(super) struct Plan {
    pub(super) context: Context,
    pub(super) claim: Claim,
    pub(super) conversation: Conversation,
    pub(super) message: String,
    pub(super) model: &'static Model,
    pub(super) cbt_price: CbtPrice,
    pub(super) upstream: ModelCall,
    pub(super) prompt_tokens: u64,
    pub(super) prompt_version: String,
    pub(super) dropped_turns: u32,
    pub(super) reservation: Reservation,
    pub(super) deadline: Timestamp,
    pub(super) meter: Meter,
}

/// What a listener hears, in order. The last is `Done` or `Failed`; without one the outcome is in the history.
#[derive(Debug)]
pub enum Out {
    /// More of the answer.
    Delta(String),
    /// The answer broke off; `Done` follows.
    Broken(Error),
    /// The call was settled.
    Done(Box<Answer>),
    /// Nothing was produced and nothing was charged.
    Failed(Error),
}

/// A call that runs. Dropping this does not end it.
#[derive(Debug)]
pub struct Running {
    /// The call.
    pub call_id: CallId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The model.
    pub model: String,
    /// What is heard of it. Closes when everything is settled.
    pub events: mpsc::Receiver<Out>,
}

/// How a call ended upstream.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    /// The answer is whole.
    Whole,
    /// Its user stopped it.
    Stopped,
    /// It broke off.
    Cut(Cut),
    /// Its time ran out.
    Deadline,
    /// It never began.
    Refused(Refusal),
    /// The hold expired, or was ended by somebody else.
    Over,
}

/// Starts a call's driver.
pub(super) fn start(app: &App, plan: Plan) -> Running {
    let (sender, events) = mpsc::channel(CHANNEL);
    let running = Running {
        call_id: plan.reservation.call,
        conversation_id: plan.conversation.id,
        model: plan.model.id.to_owned(),
        events,
    };
    let app = app.clone();
    let outlet = Outlet {
        sender,
        sent: 0,
        listens: true,
    };
    tokio::spawn(cost::inherit(async move { run(&app, &plan, outlet).await }));
    running
}

async fn run(app: &App, plan: &Plan, mut outlet: Outlet) {
    let ending = drive(app, plan, &mut outlet).await;
    outlet.flush(&plan.meter).await;
    let last = match settlement::settle(app, plan, &ending).await {
        Ok(settled) => {
            if let Some(error) = settled.error {
                outlet.tell(Out::Broken(error)).await;
            }
            Out::Done(settled.answer)
        }
        Err(error) => Out::Failed(error),
    };
    outlet.tell(last).await;
}

/// Runs the call upstream until it ends, whatever ends it.
async fn drive(app: &App, plan: &Plan, outlet: &mut Outlet) -> Ending {
    let left = plan.deadline.duration_since(app.clock().now());
    let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
    tokio::select! {
        biased;
        ending = pump(app, plan, outlet) => ending,
        ending = keep(app, plan) => ending,
        () = tokio::time::sleep(left) => Ending::Deadline,
    }
}

/// Passes the answer on as it comes.
async fn pump(app: &App, plan: &Plan, outlet: &mut Outlet) -> Ending {
    let mut events = match open(app, &plan.upstream).await {
        Ok(events) => events,
        Err(refusal) => return Ending::Refused(refusal),
    };
    plan.meter.accept();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Text(text)) => {
                let fits = plan.meter.push(&text);
                outlet.flush(&plan.meter).await;
                if !fits {
                    return Ending::Cut(Cut::TooLarge);
                }
            }
            Ok(Event::Usage(usage)) => plan.meter.report(usage),
            Ok(Event::Finish(_)) => {}
            Err(cut) => return Ending::Cut(cut),
        }
    }
    Ending::Whole
}

async fn open(app: &App, call: &ModelCall) -> Result<crate::ports::ai::Events, Refusal> {
    let unprepared = |error: Error| Refusal::unprepared(&error);
    let secret =
        Config::need(&app.config().ai_providers_secret, "AI_PROVIDERS_SECRET").map_err(unprepared)?;
    let web = app.web().map_err(unprepared)?;
    let secrets = app.secrets().map_err(unprepared)?;
    Upstream::new(web, secrets, secret).open(call).await
}

/// Keeps the hold alive and hears whether to stop. The first checkpoint runs beside the request upstream, and makes the
/// row by which the call can be found.
async fn keep(app: &App, plan: &Plan) -> Ending {
    for n in 0_u32.. {
        let told = if n % CHECKPOINT == 0 {
            checkpoint(app, plan).await
        } else {
            look(app, plan).await
        };
        match told {
            Ok(Checkpoint::Running { stop: false }) => {}
            Ok(Checkpoint::Running { stop: true }) => return Ending::Stopped,
            Ok(Checkpoint::Over) => return Ending::Over,
            // The hold lives on for a while; the next look may succeed.
            Err(error) => {
                tracing::warn!(error = %error, call.id = %plan.reservation.call, "a checkpoint failed")
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ending::Over
}

async fn checkpoint(app: &App, plan: &Plan) -> Result<Checkpoint> {
    let billable = plan.meter.billable(plan.prompt_tokens);
    let went_upstream = billable.tokens != super::pricing::Tokens::default();
    let progress = Progress {
        billable: billable.tokens.cost(&plan.model.price, &plan.cbt_price)?,
        usage: went_upstream.then(|| settlement::usage(plan, billable.tokens)),
        expires_at: app
            .clock()
            .now()
            .checked_add(HOLD_LIFE)
            .map_err(Error::internal)?,
    };
    ledger::checkpoint(app, &plan.reservation, &progress).await
}

async fn look(app: &App, plan: &Plan) -> Result<Checkpoint> {
    Ok(match ledger::find(app, plan.reservation.call).await? {
        Some(hold) if !is_running(&hold) => Checkpoint::Over,
        Some(hold) => Checkpoint::Running { stop: hold.stop },
        None => Checkpoint::Running { stop: false },
    })
}

/// The driver's end of the channel to its listener.
struct Outlet {
    sender: mpsc::Sender<Out>,
    /// Bytes of the answer that were handed over.
    sent: usize,
    listens: bool,
}

impl Outlet {
    /// Hands over what of the answer has not been; may be dropped at any await without losing or repeating text.
    async fn flush(&mut self, meter: &Meter) {
        let text = if self.listens {
            meter.text_after(self.sent)
        } else {
            String::new()
        };
        if text.is_empty() {
            return;
        }
        let length = text.len();
        if self.tell(Out::Delta(text)).await {
            self.sent += length;
        }
    }

    /// False when nobody listens.
    async fn tell(&mut self, out: Out) -> bool {
        if !self.listens {
            return false;
        }
        match tokio::time::timeout(PATIENCE, self.sender.reserve()).await {
            Ok(Ok(permit)) => {
                permit.send(out);
                true
            }
            _ => {
                self.listens = false;
                false
            }
        }
    }
}
