// Collecting what is due: the first attempt, the later ones, and what becomes of the subscription.

import { confirm, makeIntent } from '../payments/intents.mjs';
import { defaultMethod } from '../payments/methods.mjs';
import { declined, invalid } from '../wire/errors.mjs';
import { DAY } from '../time.mjs';
import { finalize, markPaid, markUncollectible, subscriptionOf } from './invoices.mjs';
import { end, setStatus } from './state.mjs';
import { applyPending } from './pending.mjs';

const NO_METHOD = { code: 'invoice_payment_intent_requires_action', message: 'There is no default_payment_method set on this Customer or Invoice. Please set a default_payment_method.' };

/** The payment intent of an invoice, made with it when it is first to be paid. */
function intentOf(account, invoice) {
  const known = account.store.find('payment_intent', invoice.$.intent);
  if (known) return known;
  const intent = makeIntent(account, {
    customer: invoice.customer,
    amount: invoice.amount_remaining,
    currency: invoice.currency,
    metadata: invoice.$.intentMetadata,
    description: invoice.billing_reason === 'subscription_create' ? 'Subscription creation' : invoice.billing_reason === 'manual' ? null : 'Subscription update',
  });
  invoice.$.intent = intent.id;
  const at = account.clockOf(invoice.customer).now;
  const payment = account.store.add({
    object: 'invoice_payment',
    amount_paid: null,
    amount_requested: invoice.amount_remaining,
    created: at,
    currency: invoice.currency,
    invoice: invoice.id,
    is_default: true,
    livemode: false,
    payment: { payment_intent: intent.id, type: 'payment_intent' },
    status: 'open',
    status_transitions: { canceled_at: null, paid_at: null },
    $: { customer: invoice.customer },
  });
  invoice.$.payment = payment.id;
  return intent;
}

/** The subscription after a bill of it was paid. */
function paid(account, invoice) {
  const subscription = subscriptionOf(account, invoice);
  if (!subscription) return;
  if (subscription.pending_update && subscription.latest_invoice === invoice.id) applyPending(account, subscription);
  if (!['incomplete', 'past_due', 'unpaid'].includes(subscription.status)) return;
  if (invoice.id === subscription.latest_invoice) setStatus(account, subscription, 'active');
}

/** A paid invoice tells its subscription, whatever it was paid by. */
export function settlePaid(account, invoice) {
  if (invoice.$.payment) {
    const payment = account.store.get('invoice_payment', invoice.$.payment);
    Object.assign(payment, { status: 'paid', amount_paid: invoice.amount_due });
    payment.status_transitions.paid_at = account.clockOf(invoice.customer).now;
    account.emit('invoice_payment.paid', payment);
  }
  markPaid(account, invoice);
  paid(account, invoice);
}

function failed(account, invoice, { retry }) {
  const { now } = account.clockOf(invoice.customer);
  const wait = account.settings.retryDays[invoice.attempt_count - 1];
  const subscription = subscriptionOf(account, invoice);
  const goesOn = retry && wait !== undefined && subscription && !['incomplete', 'canceled', 'incomplete_expired'].includes(subscription.status);
  account.change(invoice, 'invoice.updated', () => {
    invoice.next_payment_attempt = goesOn ? now + wait * DAY : null;
  });
  account.emit('invoice.payment_failed', invoice);
  if (goesOn) account.schedule(invoice, invoice.next_payment_attempt);
  if (!subscription || subscription.pending_update) return;
  if (['active', 'trialing'].includes(subscription.status)) setStatus(account, subscription, 'past_due');
  if (retry && !goesOn && subscription.status === 'past_due') exhausted(account, subscription, invoice);
}

/** After the last attempt. */
function exhausted(account, subscription, invoice) {
  const { afterRetries } = account.settings;
  if (afterRetries === 'cancel') end(account, subscription, { reason: 'payment_failed' });
  else if (afterRetries === 'unpaid') setStatus(account, subscription, 'unpaid');
  else if (afterRetries === 'uncollectible') markUncollectible(account, invoice);
}

/** One attempt. Gives the refusal, or nothing when it is paid. `retry`: whether later attempts follow by themselves. */
export function attempt(account, invoice, { method, retry = true } = {}) {
  const card = method ?? defaultMethod(account, invoice.customer, subscriptionOf(account, invoice));
  invoice.attempted = true;
  invoice.attempt_count += 1;
  const intent = intentOf(account, invoice);
  const refused = card ? confirm(account, intent, card) : NO_METHOD;
  if (refused) {
    failed(account, invoice, { retry });
    return refused;
  }
  settlePaid(account, invoice);
  return undefined;
}

/** Finalizes a draft and collects it at once, where that is how it is collected. */
export function bill(account, invoice, { collect = true } = {}) {
  finalize(account, invoice);
  if (invoice.status === 'paid') {
    paid(account, invoice);
    return undefined;
  }
  return collect && invoice.collection_method === 'charge_automatically' ? attempt(account, invoice) : undefined;
}

/** `POST /v1/invoices/:id/pay`: what a person asks for, outside the schedule of attempts. */
export function payNow(account, invoice, { method, outOfBand = false } = {}) {
  if (invoice.status === 'draft') {
    bill(account, invoice, { collect: false });
    if (invoice.status === 'paid') return invoice;
  }
  if (invoice.status === 'paid') throw invalid('Invoice is already paid', { code: 'invoice_already_paid' });
  if (!['open', 'uncollectible'].includes(invoice.status)) throw invalid(`This invoice can no longer be paid: it is ${invoice.status}.`, { code: 'invoice_not_editable' });
  if (outOfBand) {
    settlePaid(account, invoice);
    return invoice;
  }
  const planned = invoice.next_payment_attempt;
  const refused = attempt(account, invoice, { method, retry: false });
  if (refused === NO_METHOD) throw invalid(NO_METHOD.message, { code: 'resource_missing' });
  if (refused) {
    invoice.next_payment_attempt = planned;
    throw declined(refused, { payment_intent: account.store.get('payment_intent', invoice.$.intent) });
  }
  return invoice;
}

/** Looks whether an invoice is to be finalized or tried again. */
export function invoiceDue(account, invoice) {
  const { now } = account.clockOf(invoice.customer);
  if (invoice.status === 'draft' && invoice.auto_advance && invoice.automatically_finalizes_at !== null && invoice.automatically_finalizes_at <= now) {
    bill(account, invoice);
  } else if (invoice.status === 'open' && invoice.next_payment_attempt !== null && invoice.next_payment_attempt <= now) {
    attempt(account, invoice);
  }
}
