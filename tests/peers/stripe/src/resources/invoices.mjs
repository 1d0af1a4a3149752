// https://docs.stripe.com/api/invoices

import { previewChange } from '../billing/changes.mjs';
import { bill, payNow } from '../billing/collection.mjs';
import { makeInvoice, markUncollectible, subscriptionOf, voidInvoice } from '../billing/invoices.mjs';
import { periodLine } from '../billing/lines.mjs';
import { automaticTax, makeItem } from '../billing/subscribe.mjs';
import { later } from '../time.mjs';
import { forCustomer } from '../payments/methods.mjs';
import { livingCustomer } from '../render.mjs';
import { page } from '../store.mjs';
import { invalid } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, clearable, id, inRange, mergeMetadata, metadata, object, oneOf, required, text, time } from '../wire/params.mjs';
import { AUTOMATIC_TAX, BILLING_MODE, CURRENCY, ITEMS, NOW_OR_TIME, PRORATION } from './common.mjs';

const PREVIEW = {
  automatic_tax: AUTOMATIC_TAX,
  currency: CURRENCY,
  customer: id,
  preview_mode: oneOf('next'),
  subscription: id,
  subscription_details: object({
    billing_cycle_anchor: oneOf('now', 'unchanged'),
    billing_mode: BILLING_MODE,
    cancel_at: clearable(time),
    cancel_at_period_end: bool,
    items: ITEMS,
    proration_behavior: PRORATION,
    proration_date: time,
    trial_end: NOW_OR_TIME,
  }),
};

/** What the first bill of a subscription that does not exist yet would be. */
function previewNew(account, customer, { items = [], trial_end: trial }, tax) {
  const { now } = account.clockOf(customer);
  const made = items.map((item, index) => makeItem(account, { ...item, at: now, param: `subscription_details[items][${index}][price]` }));
  if (made.length === 0) throw invalid('You must specify either `subscription` or `subscription_details[items]`.', { code: 'parameter_missing', param: 'subscription_details[items]' });
  const price = account.store.get('price', made[0].price);
  const trialing = typeof trial === 'number' && trial > now;
  const period = { start: now, end: trialing ? trial : later(now, price.recurring) };
  const subscription = { id: 'sub_preview', metadata: {}, currency: price.currency, automatic_tax: automaticTax(tax), collection_method: 'charge_automatically' };
  const invoice = makeInvoice(account, {
    subscription,
    customer: customer.id,
    lines: made.map((item) => periodLine(account, subscription, item, period, trialing)),
    reason: 'upcoming',
    period: { start: now, end: now },
    at: now,
    preview: true,
  });
  invoice.parent = null;
  return invoice;
}

function preview(account, { customer, subscription: key, subscription_details: details = {}, automatic_tax: tax }) {
  if (key) {
    const subscription = account.store.get('subscription', key, 'subscription');
    if (customer && subscription.customer !== customer) throw invalid('The subscription is not of this customer.', { param: 'subscription' });
    return previewChange(account, subscription, details);
  }
  if (!customer) throw invalid('You must specify either `customer` or `subscription`.', { code: 'parameter_missing', param: 'customer' });
  return previewNew(account, livingCustomer(account, customer, 'customer'), details, tax);
}

const found = (account, { id: key }) => account.store.get('invoice', key);

function pay(account, { payment_method: given, paid_out_of_band: outOfBand }, ids) {
  const invoice = found(account, ids);
  const method = given && forCustomer(account, given, livingCustomer(account, invoice.customer), 'payment_method');
  return payNow(account, invoice, { method, outOfBand });
}

function change(account, { metadata: marks, auto_advance: advances, description }, ids) {
  return account.change(found(account, ids), 'invoice.updated', (invoice) => {
    invoice.metadata = mergeMetadata(invoice.metadata, marks);
    if (advances !== undefined) invoice.auto_advance = advances;
    if (description !== undefined) invoice.description = description;
  });
}

function finalizeNow(account, { auto_advance: advances }, ids) {
  const invoice = found(account, ids);
  if (advances !== undefined) invoice.auto_advance = advances;
  bill(account, invoice, { collect: invoice.auto_advance });
  return invoice;
}

function payments(account, { invoice, payment, status, limit, starting_after, ending_before }) {
  return account.store.page('invoice_payment', { limit, starting_after, ending_before }, '/v1/invoice_payments', (entry) =>
    (invoice === undefined || entry.invoice === invoice) &&
    (payment?.payment_intent === undefined || entry.payment.payment_intent === payment.payment_intent) &&
    (status === undefined || entry.status === status));
}

export const routes = [
  ['POST /v1/invoices/create_preview', PREVIEW, preview],
  [
    'GET /v1/invoices',
    { ...PAGE, collection_method: oneOf('charge_automatically', 'send_invoice'), created: RANGE, customer: id, status: oneOf('draft', 'open', 'paid', 'uncollectible', 'void'), subscription: id },
    (account, { created, customer, status, subscription, collection_method: method, ...paging }) =>
      account.store.page('invoice', paging, '/v1/invoices', (invoice) =>
        (customer === undefined || invoice.customer === customer) &&
        (status === undefined || invoice.status === status) &&
        (method === undefined || invoice.collection_method === method) &&
        (subscription === undefined || subscriptionOf(account, invoice)?.id === subscription) &&
        inRange(created, invoice.created)),
  ],
  ['GET /v1/invoices/:id', {}, (account, _, ids) => found(account, ids)],
  ['POST /v1/invoices/:id', { auto_advance: bool, description: clearable(text(1500)), metadata }, change],
  ['GET /v1/invoices/:id/lines', PAGE, (account, paging, ids) => page(found(account, ids).lines.data, paging, `/v1/invoices/${ids.id}/lines`)],
  ['POST /v1/invoices/:id/pay', { payment_method: id, paid_out_of_band: bool, off_session: bool, forgive: bool }, pay],
  ['POST /v1/invoices/:id/finalize', { auto_advance: bool }, finalizeNow],
  ['POST /v1/invoices/:id/void', {}, (account, _, ids) => voidInvoice(account, found(account, ids))],
  ['POST /v1/invoices/:id/mark_uncollectible', {}, (account, _, ids) => markUncollectible(account, found(account, ids))],
  [
    'GET /v1/invoice_payments',
    { ...PAGE, invoice: id, payment: object({ type: required(oneOf('payment_intent')), payment_intent: id }), status: oneOf('open', 'paid', 'canceled') },
    payments,
  ],
  ['GET /v1/invoice_payments/:id', {}, (account, _, { id: key }) => account.store.get('invoice_payment', key)],
];
