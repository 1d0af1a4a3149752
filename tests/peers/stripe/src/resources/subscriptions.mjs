// https://docs.stripe.com/api/subscriptions

import { changeSubscription } from '../billing/changes.mjs';
import { bill } from '../billing/collection.mjs';
import { prorations } from '../billing/lines.mjs';
import { invoiceOf, periodOf, resume } from '../billing/periods.mjs';
import { end } from '../billing/state.mjs';
import { subscribe } from '../billing/subscribe.mjs';
import { forCustomer } from '../payments/methods.mjs';
import { livingCustomer } from '../render.mjs';
import { page } from '../store.mjs';
import { invalid, noSuch } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, clearable, id, inRange, int, metadata, object, oneOf, required, text, time } from '../wire/params.mjs';
import { AUTOMATIC_TAX, BILLING_MODE, CANCELLATION_DETAILS, CURRENCY, ITEMS, NOW_OR_TIME, PRORATION, TRIAL_SETTINGS } from './common.mjs';

const FIELDS = {
  automatic_tax: AUTOMATIC_TAX,
  cancel_at: clearable(time),
  cancel_at_period_end: bool,
  collection_method: oneOf('charge_automatically', 'send_invoice'),
  days_until_due: int({ min: 0 }),
  default_payment_method: clearable(id),
  description: clearable(text(500)),
  metadata,
  off_session: bool,
  payment_behavior: oneOf('allow_incomplete', 'default_incomplete', 'error_if_incomplete', 'pending_if_incomplete'),
  payment_settings: object({ save_default_payment_method: oneOf('off', 'on_subscription') }),
  proration_behavior: PRORATION,
  trial_end: NOW_OR_TIME,
  trial_settings: TRIAL_SETTINGS,
};

const CREATE = {
  ...FIELDS,
  billing_cycle_anchor: time,
  billing_mode: BILLING_MODE,
  currency: CURRENCY,
  customer: required(id),
  items: required(ITEMS),
  trial_period_days: int({ min: 1, max: 730 }),
};

const UPDATE = { ...FIELDS, billing_cycle_anchor: oneOf('now', 'unchanged'), cancellation_details: CANCELLATION_DETAILS, items: ITEMS, proration_date: time };

/** The method that a parameter names, as one of the customer's. */
function ownMethod(account, asked, customer) {
  if (!asked.default_payment_method) return asked;
  return { ...asked, default_payment_method: forCustomer(account, asked.default_payment_method, customer, 'default_payment_method').id };
}

function create(account, asked) {
  const customer = livingCustomer(account, asked.customer, 'customer');
  if (asked.collection_method === 'send_invoice' && asked.days_until_due === undefined) throw invalid('You must pass `days_until_due` when `collection_method` is `send_invoice`.', { param: 'days_until_due' });
  const used = asked.items.find(({ price }) => !price);
  if (used) throw invalid('Missing required param: items[0][price].', { code: 'parameter_missing', param: 'items[0][price]' });
  return subscribe(account, customer, ownMethod(account, asked, customer));
}

function change(account, asked, subscription) {
  return changeSubscription(account, subscription, ownMethod(account, asked, livingCustomer(account, subscription.customer)));
}

function cancel(account, { cancellation_details: details, invoice_now: bills, prorate }, subscription) {
  if (['canceled', 'incomplete_expired'].includes(subscription.status)) throw noSuch('subscription', subscription.id);
  const { now } = account.clockOf(subscription.customer);
  const lines = prorate ? prorations(account, subscription, [], periodOf(subscription), now).credits : [];
  if (bills && lines.length + subscription.$.waiting.length > 0) {
    const invoice = invoiceOf(account, subscription, { lines, reason: 'subscription_update', period: { start: now, end: now } });
    subscription.latest_invoice = invoice.id;
    bill(account, invoice);
  }
  if (subscription.canceled_at === null || subscription.cancel_at_period_end) subscription.canceled_at = now;
  return end(account, subscription, { details });
}

const OVER = ['canceled', 'incomplete_expired'];
const STATUSES = ['active', 'all', 'canceled', 'ended', 'incomplete', 'incomplete_expired', 'past_due', 'paused', 'trialing', 'unpaid'];

function matches({ status, customer, price, created, collection_method: method, test_clock: clock }) {
  return (subscription) =>
    (status === undefined ? subscription.status !== 'canceled' : status === 'all' || (status === 'ended' ? OVER.includes(subscription.status) : subscription.status === status)) &&
    (customer === undefined || subscription.customer === customer) &&
    (price === undefined || subscription.items.data.some((item) => item.price === price)) &&
    (method === undefined || subscription.collection_method === method) &&
    (clock === undefined ? customer !== undefined || subscription.test_clock === null : subscription.test_clock === clock) &&
    inRange(created, subscription.created);
}

const found = (account, { id: key }) => account.store.get('subscription', key);

/** An item, and its subscription. */
function itemOf(account, key) {
  for (const subscription of account.store.all('subscription')) {
    const item = subscription.items.data.find((entry) => entry.id === key);
    if (item) return { item, subscription };
  }
  throw noSuch('subscription_item', key);
}

const ITEM = { payment_behavior: FIELDS.payment_behavior, proration_behavior: PRORATION, proration_date: time };

export const routes = [
  ['POST /v1/subscriptions', CREATE, create],
  [
    'GET /v1/subscriptions',
    { ...PAGE, collection_method: FIELDS.collection_method, created: RANGE, customer: id, price: id, status: oneOf(...STATUSES), test_clock: id },
    (account, { limit, starting_after, ending_before, ...filter }) => account.store.page('subscription', { limit, starting_after, ending_before }, '/v1/subscriptions', matches(filter)),
  ],
  ['GET /v1/subscriptions/:id', {}, (account, _, ids) => found(account, ids)],
  ['POST /v1/subscriptions/:id', UPDATE, (account, asked, ids) => change(account, asked, found(account, ids))],
  [
    'DELETE /v1/subscriptions/:id',
    { cancellation_details: CANCELLATION_DETAILS, invoice_now: bool, prorate: bool },
    (account, asked, ids) => cancel(account, asked, found(account, ids)),
  ],
  [
    'POST /v1/subscriptions/:id/resume',
    { billing_cycle_anchor: oneOf('now', 'unchanged'), proration_behavior: PRORATION, proration_date: time },
    (account, _, ids) => {
      const subscription = found(account, ids);
      if (subscription.status !== 'paused') throw invalid('You can only resume subscriptions that are paused.', { param: 'id' });
      return resume(account, subscription);
    },
  ],
  [
    'GET /v1/subscription_items',
    { ...PAGE, subscription: required(id) },
    (account, { subscription, ...paging }) => page(account.store.get('subscription', subscription, 'subscription').items.data, paging, '/v1/subscription_items'),
  ],
  ['GET /v1/subscription_items/:id', {}, (account, _, { id: key }) => itemOf(account, key).item],
  [
    'POST /v1/subscription_items',
    { ...ITEM, subscription: required(id), price: required(id), quantity: int({ min: 0 }), metadata },
    (account, { subscription: key, price, quantity, metadata: marks, ...asked }) => {
      const subscription = account.store.get('subscription', key, 'subscription');
      return change(account, { ...asked, items: [{ price, quantity, metadata: marks }] }, subscription).items.data.at(-1);
    },
  ],
  [
    'POST /v1/subscription_items/:id',
    { ...ITEM, price: id, quantity: int({ min: 0 }), metadata },
    (account, { price, quantity, metadata: marks, ...asked }, { id: key }) => {
      const { subscription } = itemOf(account, key);
      return change(account, { ...asked, items: [{ id: key, price, quantity, metadata: marks }] }, subscription).items.data.find((item) => item.id === key);
    },
  ],
  [
    'DELETE /v1/subscription_items/:id',
    { proration_behavior: PRORATION, proration_date: time, payment_behavior: FIELDS.payment_behavior },
    (account, asked, { id: key }) => {
      change(account, { ...asked, items: [{ id: key, deleted: true }] }, itemOf(account, key).subscription);
      return { id: key, object: 'subscription_item', deleted: true };
    },
  ],
];
