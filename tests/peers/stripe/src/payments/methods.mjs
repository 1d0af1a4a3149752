// Payment methods: cards, and whose they are.

import { createHash } from 'node:crypto';

import { livingCustomer } from '../render.mjs';
import { declined, invalid } from '../wire/errors.mjs';
import { INCORRECT_NUMBER, cardOf, numberOf, refusal } from './cards.mjs';

export const NO_BILLING_DETAILS = { address: { city: null, country: null, line1: null, line2: null, postal_code: null, state: null }, email: null, name: null, phone: null, tax_id: null };

/** A card as a payment method of nobody yet. */
export function makeCard(account, { number, expMonth = 12, expYear = 2034, billing = {}, metadata = {}, clock = account.clock }) {
  const card = cardOf(number);
  if (!card) throw declined(INCORRECT_NUMBER, { param: 'number' });
  return account.store.add({
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: { ...NO_BILLING_DETAILS, ...billing, address: { ...NO_BILLING_DETAILS.address, ...billing.address } },
    card: {
      brand: card.brand,
      checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
      country: card.country,
      display_brand: card.brand,
      exp_month: expMonth,
      exp_year: expYear,
      fingerprint: createHash('sha256').update(card.number).digest('hex').slice(0, 16),
      funding: card.funding,
      generated_from: null,
      last4: card.number.slice(-4),
      networks: { available: [card.brand], preferred: null },
      regulated_status: 'unregulated',
      three_d_secure_usage: { supported: true },
      wallet: null,
    },
    created: clock.now,
    customer: null,
    customer_account: null,
    livemode: false,
    metadata,
    type: 'card',
    $: { number: card.number },
  });
}

/** The payment method that a parameter names. `pm_card_visa` and its like are a new card each time, as with Stripe. */
export function resolve(account, id, param) {
  const number = numberOf(id);
  return number ? makeCard(account, { number }) : account.store.get('payment_method', id, param);
}

export function attach(account, method, customer) {
  if (method.customer === customer.id) return method;
  if (method.customer) throw invalid('The payment method you provided has already been attached to a customer.', { code: 'resource_already_exists' });
  if (method.$.spent) {
    throw invalid('This PaymentMethod was previously used without being attached to a Customer or was detached from a Customer, and may not be used again.');
  }
  const refused = refusal(method.$.number, 'attach');
  if (refused) throw declined(refused);
  method.customer = customer.id;
  account.emit('payment_method.attached', method);
  return method;
}

/** Takes a method from its customer, and from wherever it was the default. */
export function detach(account, method) {
  if (!method.customer) throw invalid('The payment method you provided is not attached to a customer so detachment is impossible.');
  const customer = account.store.get('customer', method.customer);
  const before = { customer: method.customer };
  method.customer = null;
  method.$.spent = true;
  // Told while it still lives by the customer's clock.
  account.emit('payment_method.detached', method, before);
  if (customer.invoice_settings?.default_payment_method === method.id) {
    account.change(customer, 'customer.updated', () => {
      customer.invoice_settings.default_payment_method = null;
    });
  }
  for (const subscription of account.store.all('subscription')) {
    if (subscription.default_payment_method !== method.id || subscription.status === 'canceled') continue;
    account.change(subscription, 'customer.subscription.updated', () => {
      subscription.default_payment_method = null;
    });
  }
  return method;
}

/** A method that may be used for a customer: theirs already, or a test name, which is attached. */
export function forCustomer(account, id, customer, param) {
  const method = resolve(account, id, param);
  if (numberOf(id)) return attach(account, method, customer);
  if (method.customer !== customer.id) {
    throw invalid(`The customer does not have a payment method with the ID ${id}. The payment method must be attached to the customer.`, { code: 'resource_missing', param });
  }
  return method;
}

/** What a subscription's or a customer's bills are paid with; nothing when there is none. */
export function defaultMethod(account, customerId, subscription) {
  const customer = livingCustomer(account, customerId);
  const id = subscription?.default_payment_method ?? customer.invoice_settings.default_payment_method;
  return id ? account.store.get('payment_method', id) : undefined;
}
