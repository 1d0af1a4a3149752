// Changes of a running subscription, and what they would cost.

import { defaultMethod } from '../payments/methods.mjs';
import { refusal } from '../payments/cards.mjs';
import { StripeError, declined, invalid } from '../wire/errors.mjs';
import { mergeMetadata } from '../wire/params.mjs';
import { view } from '../render.mjs';
import { bill } from './collection.mjs';
import { makeInvoice } from './invoices.mjs';
import { noteDebit, periodLine, priceOf, prorations } from './lines.mjs';
import { notePending } from './pending.mjs';
import { freshPeriod, invoiceOf, periodAfter, periodOf, plan, setPeriod, subscriptionDue } from './periods.mjs';
import { makeItem } from './subscribe.mjs';

const WITH_PENDING = ['items', 'payment_behavior', 'proration_behavior', 'proration_date', 'billing_cycle_anchor', 'trial_end', 'off_session'];

/** The items as they will be, without touching those that are. */
function itemsAfter(account, subscription, changes, now) {
  const items = subscription.items.data.map((item) => ({ ...item, $: { debits: [...item.$.debits] } }));
  const { start, end } = periodOf(subscription);
  for (const [index, change] of (changes ?? []).entries()) {
    const param = `items[${index}]`;
    const known = change.id && items.find(({ id }) => id === change.id);
    if (change.id && !known) throw invalid(`No such subscription_item: '${change.id}'`, { code: 'resource_missing', param: `${param}[id]` });
    if (change.deleted) {
      items.splice(items.indexOf(known), 1);
    } else if (known) {
      if (change.price) known.price = makeItem(account, { price: change.price, param: `${param}[price]`, at: now }).price;
      if (change.quantity !== undefined) known.quantity = change.quantity;
      known.metadata = mergeMetadata(known.metadata, change.metadata);
    } else {
      const duplicate = items.some(({ price }) => price === change.price);
      if (duplicate) throw invalid(`Cannot add multiple subscription items with the same plan: ${change.price}`, { param: `${param}[price]` });
      const item = makeItem(account, { ...change, param: `${param}[price]`, at: now });
      items.push({ ...item, subscription: subscription.id, current_period_start: start, current_period_end: end });
    }
  }
  if (items.length === 0) throw invalid('A subscription must have at least one active plan.', { param: 'items' });
  const intervals = new Set(items.map((item) => JSON.stringify(priceOf(account, item).recurring)));
  if (intervals.size > 1) throw invalid('All items of a subscription have the same billing interval here.', { param: 'items' });
  return items;
}

/** What a change comes to: the items, the lines, whether a period begins, whether a bill is due at once. */
export function consider(account, subscription, asked) {
  const { now } = account.clockOf(subscription.customer);
  const period = periodOf(subscription);
  const at = asked.proration_date ?? now;
  if (at < period.start || at > period.end) throw invalid(`Cannot specify a proration_date outside of the current billing period.`, { param: 'proration_date' });
  const after = itemsAfter(account, subscription, asked.items, now);
  const behaviour = asked.proration_behavior ?? 'create_prorations';
  const trialing = subscription.status === 'trialing';
  const interval = (items) => JSON.stringify(priceOf(account, items[0]).recurring);
  const begins =
    (trialing && asked.trial_end === 'now') ||
    (!trialing && (asked.billing_cycle_anchor === 'now' || interval(after) !== interval(subscription.items.data)));
  const settled = begins && !trialing ? { ...subscription, items: { data: subscription.items.data } } : subscription;
  let { credits, charges } = behaviour === 'none' || trialing ? { credits: [], charges: [] } : prorations(account, settled, begins ? [] : after, period, at);
  if (begins) charges = [];
  return { now, at, period, after, behaviour, begins, lines: [...credits, ...charges], charges, atOnce: begins || behaviour === 'always_invoice' };
}

/** Would the bill be refused? Asked before anything changes. */
function refusedAhead(account, subscription) {
  const method = defaultMethod(account, subscription.customer, subscription);
  if (!method) return { code: 'resource_missing', message: 'This customer has no attached payment source or default payment method.' };
  return refusal(method.$.number, 'charge');
}

function takeItems(account, subscription, { after, period, at, charges, behaviour }) {
  for (const item of after) {
    const old = subscription.items.data.find(({ id }) => id === item.id);
    const line = charges.find((charge) => charge.parent.subscription_item_details.subscription_item === item.id);
    if (line) item.$.debits = [{ amount: line.amount, quantity: item.quantity, price: item.price, start: at, end: period.end }];
    else if (!old && behaviour === 'none') noteDebit(item, { start: at, end: period.end }, 0);
  }
  subscription.items.data = after;
  subscription.items.total_count = after.length;
}

/** A period begins now: what is left of the old one comes back, the whole new one is asked for. */
function beginPeriod(account, subscription, plannedChange) {
  const { now, after, lines } = plannedChange;
  subscription.items.data = after;
  subscription.items.total_count = after.length;
  const period = freshPeriod(account, subscription, now);
  if (subscription.status === 'trialing') Object.assign(subscription, { status: 'active', trial_end: now });
  subscription.billing_cycle_anchor = now;
  setPeriod(subscription, period);
  if (subscription.cancel_at_period_end) subscription.cancel_at = period.end;
  const whole = after.map((item) => {
    const line = periodLine(account, subscription, item, period, false);
    noteDebit(item, period, line.amount);
    return line;
  });
  return invoiceOf(account, subscription, { lines: [...lines, ...whole], reason: 'subscription_update', period: { start: now, end: now } });
}

function extendTrial(subscription, until, now) {
  if (until <= now) throw invalid('Trial end must be in the future.', { param: 'trial_end' });
  const { start } = periodOf(subscription);
  Object.assign(subscription, { status: 'trialing', trial_start: subscription.trial_start ?? now, trial_end: until, billing_cycle_anchor: until });
  setPeriod(subscription, { start, end: until });
  subscription.$.warned = false;
  if (subscription.cancel_at_period_end) subscription.cancel_at = until;
}

function setCancellation(subscription, asked, now) {
  if (asked.cancel_at_period_end !== undefined && asked.cancel_at) throw invalid('You may only specify one of these parameters: cancel_at, cancel_at_period_end.');
  const { cancellation_details: details } = subscription;
  const on = (at) => {
    Object.assign(subscription, { cancel_at: at, canceled_at: now });
    details.reason = 'cancellation_requested';
  };
  if (asked.cancel_at_period_end === true && !subscription.cancel_at_period_end) {
    subscription.cancel_at_period_end = true;
    on(periodOf(subscription).end);
  } else if (asked.cancel_at) {
    subscription.cancel_at_period_end = false;
    on(asked.cancel_at);
  } else if ((asked.cancel_at_period_end === false && subscription.cancel_at_period_end) || asked.cancel_at === null) {
    Object.assign(subscription, { cancel_at_period_end: false, cancel_at: null, canceled_at: null });
    subscription.cancellation_details = { comment: null, feedback: null, reason: null };
  }
  Object.assign(subscription.cancellation_details, asked.cancellation_details);
}

function setPlainFields(subscription, asked) {
  for (const key of ['default_payment_method', 'description', 'collection_method', 'days_until_due']) {
    if (asked[key] !== undefined) subscription[key] = asked[key];
  }
  if (asked.automatic_tax) {
    const { enabled } = asked.automatic_tax;
    subscription.automatic_tax = { disabled_reason: null, enabled, liability: enabled ? { type: 'self' } : null };
  }
  if (asked.trial_settings) subscription.trial_settings = asked.trial_settings;
  Object.assign(subscription.payment_settings, asked.payment_settings);
  subscription.metadata = mergeMetadata(subscription.metadata, asked.metadata);
}

function pendingChange(account, subscription, change) {
  const refused = refusedAhead(account, subscription);
  const invoice = invoiceOf(account, subscription, { lines: change.lines, reason: 'subscription_update', period: { start: change.now, end: change.now } });
  if (!refused || invoice.total <= 0) return { invoice, waits: false };
  const after = change.after.map((item) => ({ ...item }));
  const holder = { items: { data: subscription.items.data } };
  takeItems(account, holder, { ...change, after });
  notePending(account, subscription, after, invoice);
  bill(account, invoice);
  return { invoice, waits: true };
}

/** `POST /v1/subscriptions/:id`. */
export function changeSubscription(account, subscription, asked) {
  if (['canceled', 'incomplete_expired'].includes(subscription.status)) {
    const only = Object.keys(asked).filter((key) => !['metadata', 'cancellation_details'].includes(key));
    if (only.length > 0) throw invalid('A canceled subscription can only update its cancellation_details and metadata.', { param: only[0] });
  }
  if (asked.payment_behavior === 'pending_if_incomplete') {
    const other = Object.keys(asked).find((key) => !WITH_PENDING.includes(key));
    if (other) throw invalid('When `payment_behavior` is set to `pending_if_incomplete`, you can only pass supported params.', { param: other });
  }
  const change = consider(account, subscription, asked);
  const priced = change.lines.length > 0 || change.begins;
  if (priced && change.atOnce && asked.payment_behavior === 'error_if_incomplete' && worth(account, subscription, change) > 0) {
    const refused = refusedAhead(account, subscription);
    if (refused) throw refused.code === 'resource_missing' ? invalid(refused.message, refused) : declined(refused);
  }
  let invoice;
  if (priced && change.atOnce && !change.begins && asked.payment_behavior === 'pending_if_incomplete') {
    const pending = pendingChange(account, subscription, change);
    if (pending.waits) return subscription;
    invoice = pending.invoice;
  }
  account.change(subscription, 'customer.subscription.updated', () => {
    setPlainFields(subscription, asked);
    if (change.begins) invoice = beginPeriod(account, subscription, change);
    else {
      takeItems(account, subscription, change);
      if (change.lines.length > 0 && change.atOnce) {
        invoice ??= invoiceOf(account, subscription, { lines: change.lines, reason: 'subscription_update', period: { start: change.now, end: change.now } });
      } else subscription.$.waiting.push(...change.lines);
    }
    if (typeof asked.trial_end === 'number') extendTrial(subscription, asked.trial_end, change.now);
    setCancellation(subscription, asked, change.now);
    if (invoice) subscription.latest_invoice = invoice.id;
  });
  if (invoice) bill(account, invoice, { collect: asked.payment_behavior !== 'default_incomplete' });
  plan(account, subscription);
  if (subscription.cancel_at !== null) subscriptionDue(account, subscription);
  return subscription;
}

const total = (lines) => lines.reduce((sum, { amount }) => sum + amount, 0);

function worth(account, subscription, change) {
  if (!change.begins) return total(change.lines);
  return total(change.lines) + change.after.reduce((sum, item) => sum + priceOf(account, item).unit_amount * item.quantity, 0);
}

/** `POST /v1/invoices/create_preview` for a running subscription. Nothing changes. */
export function previewChange(account, subscription, asked = {}) {
  const over = ['canceled', 'incomplete_expired'].includes(subscription.status);
  const change = over ? undefined : consider(account, subscription, asked);
  const ends = asked.cancel_at_period_end ?? subscription.cancel_at_period_end;
  const changed = change && (change.lines.length > 0 || change.begins);
  if (over || (ends && !changed && subscription.$.waiting.length === 0)) {
    throw new StripeError(404, 'invalid_request_error', `No upcoming invoices for customer: '${subscription.customer}'`, { code: 'invoice_upcoming_none' });
  }
  const { now, after, lines, begins, atOnce, period } = change;
  const copy = { ...view(account, subscription), items: { ...subscription.items, data: after }, $: { ...subscription.$ } };
  const next = begins ? freshPeriod(account, copy, now) : typeof asked.trial_end === 'number' ? freshPeriod(account, copy, asked.trial_end) : periodAfter(account, copy, period.end);
  const whole = (atOnce && changed && !begins) || ends ? [] : after.map((item) => periodLine(account, copy, item, next, false));
  return makeInvoice(account, {
    subscription: copy,
    customer: subscription.customer,
    lines: [...subscription.$.waiting.map((line) => ({ ...line })), ...lines, ...whole],
    reason: 'upcoming',
    period: atOnce && changed ? { start: now, end: now } : period,
    at: atOnce && changed ? now : period.end,
    preview: true,
  });
}
