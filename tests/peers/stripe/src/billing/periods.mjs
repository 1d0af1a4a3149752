// The periods of a subscription: its first, the next, its end, and what of that is due.

import { DAY, HOUR, later, nextBoundary } from '../time.mjs';
import { defaultMethod } from '../payments/methods.mjs';
import { bill } from './collection.mjs';
import { makeInvoice, voidInvoice } from './invoices.mjs';
import { noteDebit, periodLine, priceOf } from './lines.mjs';
import { expirePending } from './pending.mjs';
import { end, setStatus, update } from './state.mjs';

const WARNING_SECONDS = 3 * DAY;
const INCOMPLETE_SECONDS = 23 * HOUR;
const OVER = ['canceled', 'incomplete_expired'];

export const periodOf = ({ items: { data } }) => ({ start: data[0].current_period_start, end: data[0].current_period_end });

export const setPeriod = (subscription, { start, end: until }) => {
  for (const item of subscription.items.data) Object.assign(item, { current_period_start: start, current_period_end: until });
};

export const recurringOf = (account, subscription) => priceOf(account, subscription.items.data[0]).recurring;

/** The period that follows, by the anchor. */
export function periodAfter(account, subscription, start) {
  return { start, end: nextBoundary(subscription.billing_cycle_anchor, recurringOf(account, subscription), start) };
}

/** A period that begins anew at a moment, which becomes the anchor. */
export function freshPeriod(account, subscription, start) {
  return { start, end: later(start, recurringOf(account, subscription)) };
}

/** Makes an invoice over lines, which becomes the subscription's latest. Lines that waited go into it. */
export function invoiceOf(account, subscription, { lines, reason, period }) {
  const invoice = makeInvoice(account, {
    subscription,
    customer: subscription.customer,
    lines: [...subscription.$.waiting, ...lines],
    reason,
    period,
    at: account.clockOf(subscription.customer).now,
  });
  subscription.$.waiting = [];
  subscription.$.invoices.push(invoice.id);
  return invoice;
}

/** The lines of a whole period, and the note of what has been debited. */
export function periodLines(account, subscription, period, { trial = false } = {}) {
  return subscription.items.data.map((item) => {
    const line = periodLine(account, subscription, item, period, trial);
    noteDebit(item, period, line.amount);
    return line;
  });
}

/** Notes when to look at a subscription again. */
export function plan(account, subscription) {
  if (OVER.includes(subscription.status)) return;
  const { end: until } = periodOf(subscription);
  account.schedule(subscription, until);
  account.schedule(subscription, subscription.cancel_at);
  account.schedule(subscription, subscription.pending_update?.expires_at);
  if (subscription.status === 'trialing' && !subscription.$.warned) account.schedule(subscription, subscription.trial_end - WARNING_SECONDS);
  if (subscription.status === 'incomplete') account.schedule(subscription, subscription.created + INCOMPLETE_SECONDS);
}

/** What happens at the end of a trial without a card, if not an invoice. */
function stopsWithoutCard(account, subscription) {
  if (subscription.status !== 'trialing' || defaultMethod(account, subscription.customer, subscription)) return false;
  const behaviour = subscription.trial_settings.end_behavior.missing_payment_method;
  if (behaviour === 'cancel') end(account, subscription, { reason: null });
  if (behaviour === 'pause') {
    setStatus(account, subscription, 'paused');
    account.emit('customer.subscription.paused', subscription);
  }
  return behaviour !== 'create_invoice';
}

/** The next period begins: a draft of its bill, and the subscription goes on. */
function renew(account, subscription) {
  if (stopsWithoutCard(account, subscription)) return;
  const before = periodOf(subscription);
  const next = periodAfter(account, subscription, before.end);
  const { draftSeconds } = account.settings;
  account.change(subscription, 'customer.subscription.updated', () => {
    setPeriod(subscription, next);
    const lines = periodLines(account, subscription, next);
    // As with Stripe, the invoice's own period is the one that has ended; its lines have the one that begins.
    const invoice = invoiceOf(account, subscription, { lines, reason: 'subscription_cycle', period: before });
    if (subscription.status === 'unpaid') invoice.auto_advance = false;
    else invoice.automatically_finalizes_at = before.end + draftSeconds;
    account.schedule(invoice, invoice.automatically_finalizes_at);
    subscription.latest_invoice = invoice.id;
    if (subscription.status === 'trialing') subscription.status = 'active';
  });
}

function expire(account, subscription) {
  const invoice = account.store.find('invoice', subscription.latest_invoice);
  if (invoice?.status === 'open') voidInvoice(account, invoice);
  end(account, subscription, { reason: 'payment_failed', status: 'incomplete_expired' });
}

/** Looks whether anything of a subscription is due, and does it. */
export function subscriptionDue(account, subscription) {
  if (OVER.includes(subscription.status)) return;
  const { now } = account.clockOf(subscription.customer);
  if (subscription.status === 'incomplete') {
    if (now >= subscription.created + INCOMPLETE_SECONDS) expire(account, subscription);
    return;
  }
  if (subscription.pending_update && subscription.pending_update.expires_at <= now) expirePending(account, subscription);
  if (subscription.status === 'trialing' && !subscription.$.warned && subscription.trial_end - WARNING_SECONDS <= now) {
    subscription.$.warned = true;
    account.emit('customer.subscription.trial_will_end', subscription);
  }
  if (subscription.cancel_at !== null && subscription.cancel_at <= now) {
    end(account, subscription);
    return;
  }
  if (subscription.status !== 'paused' && periodOf(subscription).end <= now) renew(account, subscription);
  plan(account, subscription);
}

/** A paused subscription goes on: a period begins now. */
export function resume(account, subscription) {
  const { now } = account.clockOf(subscription.customer);
  const period = freshPeriod(account, subscription, now);
  subscription.billing_cycle_anchor = now;
  setPeriod(subscription, period);
  const invoice = invoiceOf(account, subscription, { lines: periodLines(account, subscription, period), reason: 'subscription_update', period: { start: now, end: now } });
  update(account, subscription, { status: 'active', latest_invoice: invoice.id });
  account.emit('customer.subscription.resumed', subscription);
  bill(account, invoice);
  plan(account, subscription);
  return subscription;
}
