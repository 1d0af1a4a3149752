//! Settlement: what a call is charged, stored in one transaction with its turn, and then taken from the hold.

use std::time::Duration;

use jiff::Timestamp;

use super::catalogue::PRICE_VERSION;
use super::claim::lost;
use super::driver::{Ending, Plan};
use super::history::{Details, Turn, count_turn};
use super::meter::Produced;
use super::pricing::Tokens;
use super::receipt::{Answer, Receipt};
use crate::app::App;
use crate::domain::ledger::{
    self, ALREADY_BILLED, Bill, CallStatus, Ended, Reservation, Usage, bill_tx, decided,
};
use crate::error::{Error, Result};
use crate::money::{Amount, Positive};
use crate::ports::ai::Refusal;
use crate::reply::Reply;
use crate::store::{Cond, Tx, cost, keys};

/// How often a write of the settlement is tried, in all about as long as the time kept back from the deadline.
const TRIES: u32 = 6;

/// A call that was settled.
pub(super) struct Settled {
    pub(super) answer: Box<Answer>,
    /// Why the answer broke off, if it did.
    pub(super) error: Option<Error>,
}

/// Settles a call. An error means that nothing was produced and nothing was charged, or that the table could not be
/// reached: then the hold expires by itself and is charged with what was checkpointed.
pub(super) async fn settle(app: &App, plan: &Plan, ending: &Ending) -> Result<Settled> {
    let produced = plan.meter.produced();
    let status = status(ending, &produced);
    let bill = bill(plan, &produced, status, app.clock().now())?;
    let turn = (status != CallStatus::Failed).then(|| turn(plan, &produced, &bill));
    // A status that tells clients to try again must not follow an answer that will be charged.
    let unsettled = |error: Error| {
        if turn.is_some() {
            Error::internal(error)
        } else {
            error
        }
    };
    let bill = persist(|| commit(app, plan, &bill, turn.as_ref()))
        .await
        .map_err(unsettled)?;
    let ended = persist(|| ledger::end(app, &plan.reservation, bill.charge))
        .await
        .map_err(unsettled)?;
    log(plan, ending, &bill, &ended);
    // Else the sweeper was faster, and has told it.
    if bill.status != CallStatus::Expired {
        bill.tell_excess();
    }
    let Some(turn) = turn else {
        if ended.end.charge > Amount::ZERO {
            return Err(lost());
        }
        plan.claim.release(app).await;
        return Err(failure(ending));
    };
    let receipt = Receipt::of(&bill, Some(&turn.details), Some(&ended.end));
    let error = (bill.status == CallStatus::Cut).then(|| failure(ending));
    Ok(Settled {
        answer: Box::new(Answer::of(&turn, receipt)),
        error,
    })
}

/// Before the first word a call that breaks off has failed; after it, it was cut.
fn status(ending: &Ending, produced: &Produced) -> CallStatus {
    match ending {
        Ending::Whole => CallStatus::Completed,
        Ending::Stopped => CallStatus::Stopped,
        Ending::Refused(_) | Ending::Cut(_) | Ending::Deadline | Ending::Over if produced.text.is_empty() => {
            CallStatus::Failed
        }
        Ending::Refused(_) | Ending::Cut(_) | Ending::Deadline | Ending::Over => CallStatus::Cut,
    }
}

/// What the caller hears of a call that did not end well. None of these tells a client to repeat a call that was charged:
/// they come as an HTTP error only when nothing was.
fn failure(ending: &Ending) -> Error {
    match ending {
        Ending::Refused(Refusal::NotConfigured) => Error::Conflict {
            code: "model_unavailable",
            detail: "the model's provider is not configured".into(),
        },
        Ending::Refused(Refusal::Unprepared(why)) => Error::internal(why.clone()),
        Ending::Refused(Refusal::Status {
            status: 429 | 503 | 529,
        }) => Error::Upstream("the AI provider is overloaded"),
        Ending::Refused(Refusal::Status { .. }) => Error::Upstream("the AI provider refused the call"),
        Ending::Refused(Refusal::Unreachable) => Error::Upstream("the AI provider cannot be reached"),
        Ending::Refused(Refusal::Silent) => Error::Upstream("the AI provider did not answer in time"),
        Ending::Cut(_) => Error::Upstream("the AI provider's answer broke off"),
        Ending::Deadline => Error::Upstream("the AI provider did not finish in time"),
        Ending::Over | Ending::Whole | Ending::Stopped => Error::Upstream("the call lost its hold"),
    }
}

/// What a call used, as bills and checkpoints tell it.
pub(super) fn usage(plan: &Plan, tokens: Tokens) -> Usage {
    Usage {
        request_id: Some(plan.context.request_id.clone()),
        provider: Some(plan.model.provider.as_str().to_owned()),
        model: Some(plan.model.id.to_owned()),
        price_version: Some(plan.cbt_price.version(PRICE_VERSION)),
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        cached_tokens: tokens.cached,
        provider_cost_micro_usd: tokens.micro_usd(&plan.model.price),
        latency_ms: plan.meter.millis(),
    }
}

fn bill(plan: &Plan, produced: &Produced, status: CallStatus, at: Timestamp) -> Result<Bill> {
    let billable = produced.billable(plan.prompt_tokens);
    // What failed before its first word is free, whatever the provider counts.
    let (charge, excess) = match status {
        CallStatus::Failed => (Amount::ZERO, Amount::ZERO),
        _ => plan
            .reservation
            .clamp(billable.tokens.cost(&plan.model.price, &plan.cbt_price)?),
    };
    Ok(Bill {
        call: plan.reservation.call,
        account: plan.reservation.account,
        memo: plan.reservation.memo.clone(),
        charge,
        excess,
        usage: usage(plan, billable.tokens),
        status,
        estimated: billable.estimated,
        at,
    })
}

fn turn(plan: &Plan, produced: &Produced, bill: &Bill) -> Turn {
    Turn {
        call_id: bill.call,
        conversation_id: plan.conversation.id,
        message: plan.message.clone(),
        answer: produced.text.clone(),
        status: bill.status,
        model: plan.model.id.to_owned(),
        at: bill.at,
        details: Details {
            prompt_version: plan.prompt_version.clone(),
            dropped_turns: plan.dropped_turns,
            held: plan.reservation.held.cbt(),
            hold_seq: plan.reservation.seq,
            hold_capped: plan.reservation.capped,
            hold_at: plan.reservation.at,
            first_byte_ms: produced.first_byte_ms,
        },
    }
}

/// Writes the bill and the turn, or learns the bill that was there first (the sweeper's, or our own whose answer got
/// lost).
async fn commit(app: &App, plan: &Plan, bill: &Bill, turn: Option<&Turn>) -> Result<Bill> {
    let mut tx = bill_tx(app.tx(&plan.context), bill)?;
    if let Some(turn) = turn {
        tx = remembered(tx.put(turn)?, plan, bill.at)?;
    }
    match tx.commit(Reply::no_content()).await {
        Ok(_) => Ok(bill.clone()),
        // What was produced is paid for; nobody is left to find it in a history.
        Err(Error::Conflict { code: AGENT_GONE, .. }) => {
            let alone = bill_tx(app.tx(&plan.context), bill)?;
            match alone.commit(Reply::no_content()).await {
                Err(Error::Conflict { code, .. }) if code == ALREADY_BILLED => billed(app, bill).await,
                other => other.map(|_| bill.clone()),
            }
        }
        Err(Error::Conflict { code, .. }) if code == ALREADY_BILLED => {
            if let Some(turn) = turn {
                keep(app, plan, turn, bill.at).await?;
            }
            billed(app, bill).await
        }
        Err(error) => Err(error),
    }
}

async fn billed(app: &App, bill: &Bill) -> Result<Bill> {
    decided(app, bill.call)
        .await?
        .ok_or_else(|| Error::internal("a bill that is there and is not"))
}

/// With what belongs to a turn: it counts in its conversation, and its agent is still there. An agent's row goes before
/// its conversations are removed, so that a call that ends meanwhile leaves nothing behind.
fn remembered<'a>(tx: Tx<'a>, plan: &Plan, at: Timestamp) -> Result<Tx<'a>> {
    let gone = || Error::Conflict {
        code: AGENT_GONE,
        detail: "the agent was deleted".into(),
    };
    Ok(tx
        .update(count_turn(&plan.conversation, at)?, || {
            Error::internal("an update without a condition was refused")
        })
        .check(keys::agent(plan.conversation.agent_id), Cond::item_exists(), gone))
}

const AGENT_GONE: &str = "agent_gone";

/// Stores the turn of a call that was billed by somebody else, unless it is there already: what is paid for is kept.
async fn keep(app: &App, plan: &Plan, turn: &Turn, at: Timestamp) -> Result<()> {
    let there = || Error::Conflict {
        code: TURN_KEPT,
        detail: "the turn is stored".into(),
    };
    let tx = app.tx(&plan.context).create_or(turn, there)?;
    match remembered(tx, plan, at)?.run().await {
        Err(Error::Conflict {
            code: TURN_KEPT | AGENT_GONE,
            ..
        }) => Ok(()),
        kept => kept,
    }
}

const TURN_KEPT: &str = "turn_kept";

/// Repeats what the table could not answer.
async fn persist<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    let mut n = 0;
    loop {
        match work().await {
            Err(Error::Unavailable(cause)) if n < TRIES => {
                tracing::warn!(cause = %cause, tries = n + 1, "a settlement has to wait");
                tokio::time::sleep(Duration::from_millis(100 << n)).await;
                n += 1;
            }
            other => return other,
        }
    }
}

fn log(plan: &Plan, ending: &Ending, bill: &Bill, ended: &Ended) {
    let cost = cost::so_far();
    let why = match ending {
        Ending::Refused(refusal) => refusal.to_string(),
        Ending::Cut(cut) => cut.to_string(),
        Ending::Whole | Ending::Stopped | Ending::Deadline | Ending::Over => {
            format!("{ending:?}").to_lowercase()
        }
    };
    tracing::info!(
        request.id = plan.context.request_id,
        call.id = %bill.call,
        call.status = ?bill.status,
        call.ending = why,
        ai.provider = plan.model.provider.as_str(),
        ai.model = plan.model.id,
        ai.input_tokens = bill.usage.input_tokens,
        ai.output_tokens = bill.usage.output_tokens,
        ai.estimated = bill.estimated,
        ledger.charge_micro_cbt = ended.end.charge.cbt().as_micro(),
        ledger.excess_micro_cbt = bill.excess.cbt().as_micro(),
        duration_ms = bill.usage.latency_ms,
        db.calls = cost.calls,
        db.rcu = cost.rcu,
        db.wcu = cost.wcu,
        "call"
    );
}

/// The answer that a call was given, from what is stored. Its hold is ended again, which answers how it ended the first
/// time, and completes a settlement that stopped half-way.
pub(super) async fn replay(app: &App, bill: &Bill, turn: &Turn) -> Result<Box<Answer>> {
    let reservation = Reservation {
        account: bill.account,
        call: bill.call,
        held: Positive::new(turn.details.held).map_err(Error::internal)?,
        memo: bill.memo.clone(),
        seq: turn.details.hold_seq,
        at: turn.details.hold_at,
        expires_at: turn.details.hold_at,
        capped: turn.details.hold_capped,
    };
    let ended = ledger::end(app, &reservation, bill.charge).await?;
    let receipt = Receipt::of(bill, Some(&turn.details), Some(&ended.end));
    Ok(Box::new(Answer::of(turn, receipt)))
}
