// A new subscription: by the API, or by Checkout.

import { newId } from '../store.mjs';
import { defaultMethod } from '../payments/methods.mjs';
import { refusal } from '../payments/cards.mjs';
import { declined, invalid } from '../wire/errors.mjs';
import { later } from '../time.mjs';
import { bill } from './collection.mjs';
import { amountOf, noteDebit, periodLine, priceOf } from './lines.mjs';
import { finalize } from './invoices.mjs';
import { invoiceOf, periodAfter, plan, setPeriod, subscriptionDue } from './periods.mjs';

const LONGEST_TRIAL_DAYS = 730;

/** An item as it is stored; its subscription and period are filled in by who adds it. */
export function makeItem(account, { price: id, quantity = 1, metadata = {}, param = 'items[0][price]', at }) {
  const price = account.store.get('price', id, param);
  if (!price.active) throw invalid(`The price specified is inactive. This field only accepts active prices.`, { param });
  if (price.type !== 'recurring') throw invalid('The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.', { param });
  return {
    id: newId('subscription_item'),
    object: 'subscription_item',
    billed_until: null,
    billing_thresholds: null,
    created: at,
    current_period_end: at,
    current_period_start: at,
    current_trial: null,
    discounts: [],
    metadata,
    price: id,
    quantity,
    subscription: '',
    tax_rates: [],
    $: { debits: [] },
  };
}

function trialEnd({ trial_end: until, trial_period_days: days }, now) {
  if (until !== undefined && days !== undefined) throw invalid('You may only specify one of these parameters: trial_end, trial_period_days.');
  if (days !== undefined) return now + days * 86_400;
  if (until === undefined || until === 'now') return null;
  if (until <= now) throw invalid('Trial end must be in the future.', { param: 'trial_end' });
  if (until > now + LONGEST_TRIAL_DAYS * 86_400) throw invalid('Invalid timestamp: can be no more than two years in the future', { param: 'trial_end' });
  return until;
}

export function automaticTax(asked) {
  const enabled = asked?.enabled ?? false;
  return { disabled_reason: null, enabled, liability: enabled ? { type: 'self' } : null };
}

function build(account, customer, asked, items, now) {
  const trial = trialEnd(asked, now);
  const anchor = trial ?? asked.billing_cycle_anchor ?? now;
  if (anchor < now) throw invalid('billing_cycle_anchor must be in the future', { param: 'billing_cycle_anchor' });
  const subscription = {
    object: 'subscription',
    application: null,
    application_fee_percent: null,
    automatic_tax: automaticTax(asked.automatic_tax),
    billing_cycle_anchor: anchor,
    billing_cycle_anchor_config: null,
    billing_mode: { type: asked.billing_mode?.type ?? 'flexible', ...((asked.billing_mode?.type ?? 'flexible') === 'flexible' && { flexible: { proration_discounts: 'included' } }), updated_at: now },
    billing_schedules: [],
    billing_thresholds: null,
    cancel_at: null,
    cancel_at_period_end: false,
    canceled_at: null,
    cancellation_details: { comment: null, feedback: null, reason: null },
    collection_method: asked.collection_method ?? 'charge_automatically',
    created: now,
    currency: priceOf(account, items[0]).currency,
    customer: customer.id,
    customer_account: null,
    days_until_due: asked.days_until_due ?? null,
    default_payment_method: asked.default_payment_method ?? null,
    default_source: null,
    default_tax_rates: [],
    description: asked.description ?? null,
    discounts: [],
    ended_at: null,
    invoice_settings: { account_tax_ids: null, issuer: { type: 'self' } },
    items: { object: 'list', data: items, has_more: false, total_count: items.length, url: '' },
    latest_invoice: null,
    livemode: false,
    managed_payments: null,
    metadata: asked.metadata ?? {},
    next_pending_invoice_item_invoice: null,
    on_behalf_of: null,
    pause_collection: null,
    payment_settings: { payment_method_options: null, payment_method_types: null, save_default_payment_method: asked.payment_settings?.save_default_payment_method ?? 'off' },
    pending_invoice_item_interval: null,
    pending_setup_intent: null,
    pending_update: null,
    schedule: null,
    start_date: now,
    status: trial ? 'trialing' : 'incomplete',
    test_clock: customer.test_clock,
    transfer_data: null,
    trial_end: trial,
    trial_settings: { end_behavior: { missing_payment_method: asked.trial_settings?.end_behavior?.missing_payment_method ?? 'create_invoice' } },
    trial_start: trial ? now : null,
    $: { invoices: [], waiting: [], warned: false },
  };
  account.store.add(subscription);
  subscription.items.url = `/v1/subscription_items?subscription=${subscription.id}`;
  for (const item of items) item.subscription = subscription.id;
  return subscription;
}

function firstLines(account, subscription, period, prorate) {
  const recurring = priceOf(account, subscription.items.data[0]).recurring;
  // Up to an anchor in the future the first period is shorter, and costs as much less.
  const whole = later(period.end, recurring, -1);
  return subscription.items.data.map((item) => {
    const line = periodLine(account, subscription, item, period, subscription.status === 'trialing');
    if (subscription.status !== 'trialing' && period.start !== whole) {
      line.amount = prorate ? Math.round((amountOf(account, item) * (period.end - period.start)) / (period.end - whole)) : 0;
      line.subtotal = line.amount;
    }
    noteDebit(item, period, line.amount);
    return line;
  });
}

/** Whether the first bill can be paid, before anything is made of it. */
function requirePayable(account, customer, asked, items) {
  if (asked.collection_method === 'send_invoice' || asked.payment_behavior === 'default_incomplete') return;
  if (items.every((item) => amountOf(account, item) === 0)) return;
  const method = defaultMethod(account, customer.id, asked);
  if (!method) {
    throw invalid('This customer has no attached payment source or default payment method. Please consider adding a default payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.', { code: 'resource_missing' });
  }
  const refused = refusal(method.$.number, 'charge');
  if (refused && asked.payment_behavior === 'error_if_incomplete') throw declined(refused);
}

/** Makes a subscription and its first bill. */
export function subscribe(account, customer, asked) {
  const { now } = account.clockOf(customer);
  const items = asked.items.map((item, index) => makeItem(account, { ...item, at: now, param: `items[${index}][price]` }));
  const trial = trialEnd(asked, now);
  if (!trial) requirePayable(account, customer, asked, items);
  const subscription = build(account, customer, asked, items, now);
  const period = trial ? { start: now, end: trial } : periodAfter(account, subscription, now);
  setPeriod(subscription, period);
  if (asked.cancel_at_period_end) Object.assign(subscription, { cancel_at_period_end: true, cancel_at: period.end, canceled_at: now });
  if (asked.cancel_at) Object.assign(subscription, { cancel_at: asked.cancel_at, canceled_at: now });
  const lines = firstLines(account, subscription, period, asked.proration_behavior !== 'none');
  const invoice = invoiceOf(account, subscription, { lines, reason: 'subscription_create', period: { start: now, end: now } });
  subscription.latest_invoice = invoice.id;
  account.emit('customer.subscription.created', subscription);
  if (asked.payment_behavior === 'default_incomplete' && invoice.amount_due > 0) finalize(account, invoice);
  else bill(account, invoice);
  if (subscription.collection_method === 'send_invoice' && subscription.status === 'incomplete') subscription.status = 'active';
  plan(account, subscription);
  // A trial of three days or less is about to end from its first moment on.
  if (trial) subscriptionDue(account, subscription);
  return subscription;
}
