// Payment methods, payment intents, setup intents, charges, refunds.

import { cardOf, numberOf } from '../payments/cards.mjs';
import { cancelIntent, confirm, keepCard, makeIntent, refund } from '../payments/intents.mjs';
import { attach, detach, forCustomer, makeCard } from '../payments/methods.mjs';
import { livingCustomer } from '../render.mjs';
import { declined, invalid } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, clearable, id, inRange, int, list, mergeMetadata, metadata, object, oneOf, required, text } from '../wire/params.mjs';
import { ADDRESS, CURRENCY } from './common.mjs';
import { cards } from './customers.mjs';

const BILLING_DETAILS = object({ address: clearable(ADDRESS), email: clearable(text(512)), name: clearable(text()), phone: clearable(text()) });

function makeMethod(account, { card = {}, billing_details: billing, metadata: marks }) {
  const number = card.token ? numberOf(card.token) : card.number;
  if (!number || !cardOf(number)) throw invalid('Your card number is incorrect.', { code: 'incorrect_number', param: 'card[number]' });
  return makeCard(account, { number, expMonth: card.exp_month, expYear: card.exp_year, billing, metadata: marks });
}

function changeMethod(account, method, { billing_details: billing, card, metadata: marks }) {
  if (!method.customer) throw invalid('You must save this PaymentMethod to a customer before you can update it.');
  return account.change(method, 'payment_method.updated', () => {
    Object.assign(method.billing_details, billing, billing?.address && { address: { ...method.billing_details.address, ...billing.address } });
    Object.assign(method.card, card);
    method.metadata = mergeMetadata(method.metadata, marks);
  });
}

function confirmIntent(account, intent, given) {
  if (intent.status === 'succeeded') throw invalid('You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.', { code: 'payment_intent_unexpected_state' });
  if (!given && !intent.$?.method) throw invalid('You cannot confirm this PaymentIntent because it\'s missing a payment method.', { code: 'payment_intent_unexpected_state' });
  const customer = intent.customer && livingCustomer(account, intent.customer);
  const name = given ?? intent.$.method;
  const method = customer ? forCustomer(account, name, customer, 'payment_method') : makeCard(account, { number: numberOf(name) });
  const refused = confirm(account, intent, method);
  if (refused) throw declined(refused, { payment_intent: { ...intent, $: undefined } });
  return intent;
}

function newIntent(account, asked) {
  if (asked.customer) livingCustomer(account, asked.customer, 'customer');
  const intent = makeIntent(account, { customer: asked.customer ?? null, amount: asked.amount, currency: asked.currency, description: asked.description, metadata: asked.metadata });
  if (asked.payment_method) intent.$ = { method: asked.payment_method };
  return asked.confirm ? confirmIntent(account, intent, asked.payment_method) : intent;
}

function newRefund(account, { charge: chargeId, payment_intent: intentId, ...asked }) {
  if (Boolean(chargeId) === Boolean(intentId)) throw invalid('One of the following params should be provided for this request: payment_intent or charge.', { code: 'parameter_missing', param: 'charge' });
  const id_ = chargeId ?? account.store.get('payment_intent', intentId, 'payment_intent').latest_charge;
  if (!id_) throw invalid(`This PaymentIntent (${intentId}) does not have a successful charge to refund.`, { param: 'payment_intent' });
  return refund(account, account.store.get('charge', id_, 'charge'), asked);
}

const one = (kind) => (account, _, { id: key }) => account.store.get(kind, key);

const listOf = (kind, url, ...filters) => (account, { created, limit, starting_after, ending_before, ...given }) =>
  account.store.page(kind, { limit, starting_after, ending_before }, url, (object_) =>
    inRange(created, object_.created) && filters.every((key) => given[key] === undefined || object_[key] === given[key]));

const BY_CUSTOMER = { ...PAGE, created: RANGE, customer: id };

export const routes = [
  [
    'POST /v1/payment_methods',
    {
      type: required(oneOf('card')),
      card: object({ number: text(24), exp_month: int({ min: 1, max: 12 }), exp_year: int({ min: 2000, max: 2100 }), cvc: text(4), token: id }),
      billing_details: BILLING_DETAILS,
      metadata,
    },
    makeMethod,
  ],
  ['GET /v1/payment_methods', { ...PAGE, customer: id, type: text(40) }, (account, { customer, type, ...paging }) => cards(account, paging, '/v1/payment_methods', customer, type)],
  ['GET /v1/payment_methods/:id', {}, one('payment_method')],
  [
    'POST /v1/payment_methods/:id',
    { billing_details: BILLING_DETAILS, card: object({ exp_month: int({ min: 1, max: 12 }), exp_year: int({ min: 2000, max: 2100 }) }), metadata },
    (account, asked, { id: key }) => changeMethod(account, account.store.get('payment_method', key), asked),
  ],
  [
    'POST /v1/payment_methods/:id/attach',
    { customer: required(id) },
    (account, { customer }, { id: key }) => {
      const owner = livingCustomer(account, customer, 'customer');
      return numberOf(key) ? forCustomer(account, key, owner, 'id') : attach(account, account.store.get('payment_method', key), owner);
    },
  ],
  ['POST /v1/payment_methods/:id/detach', {}, (account, _, { id: key }) => detach(account, account.store.get('payment_method', key))],
  [
    'POST /v1/payment_intents',
    { amount: required(int({ min: 50 })), currency: required(CURRENCY), customer: id, confirm: bool, description: text(), metadata, off_session: bool, payment_method: id },
    newIntent,
  ],
  ['GET /v1/payment_intents', BY_CUSTOMER, listOf('payment_intent', '/v1/payment_intents', 'customer')],
  ['GET /v1/payment_intents/:id', { client_secret: id }, one('payment_intent')],
  [
    'POST /v1/payment_intents/:id/confirm',
    { payment_method: id, off_session: bool },
    (account, { payment_method: method }, { id: key }) => confirmIntent(account, account.store.get('payment_intent', key), method),
  ],
  [
    'POST /v1/payment_intents/:id/cancel',
    { cancellation_reason: oneOf('abandoned', 'duplicate', 'fraudulent', 'requested_by_customer') },
    (account, { cancellation_reason: reason }, { id: key }) => cancelIntent(account, account.store.get('payment_intent', key), reason),
  ],
  [
    'POST /v1/setup_intents',
    { customer: required(id), payment_method: required(id), confirm: required(bool), usage: oneOf('off_session'), metadata },
    (account, { customer, payment_method: method, metadata: marks }) => {
      const owner = livingCustomer(account, customer, 'customer');
      return keepCard(account, owner, forCustomer(account, method, owner, 'payment_method'), marks);
    },
  ],
  ['GET /v1/setup_intents', BY_CUSTOMER, listOf('setup_intent', '/v1/setup_intents', 'customer')],
  ['GET /v1/setup_intents/:id', { client_secret: id }, one('setup_intent')],
  ['GET /v1/charges', { ...BY_CUSTOMER, payment_intent: id }, listOf('charge', '/v1/charges', 'customer', 'payment_intent')],
  ['GET /v1/charges/:id', {}, one('charge')],
  [
    'POST /v1/refunds',
    { amount: int({ min: 1 }), charge: id, payment_intent: id, reason: oneOf('duplicate', 'fraudulent', 'requested_by_customer'), metadata },
    newRefund,
  ],
  ['GET /v1/refunds', { ...PAGE, created: RANGE, charge: id, payment_intent: id }, listOf('refund', '/v1/refunds', 'charge', 'payment_intent')],
  ['GET /v1/refunds/:id', {}, one('refund')],
  ['GET /v1/disputes', { ...PAGE, created: RANGE, charge: id, payment_intent: id }, listOf('dispute', '/v1/disputes', 'charge', 'payment_intent')],
  ['GET /v1/disputes/:id', {}, one('dispute')],
];
