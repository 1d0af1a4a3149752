// What the tests share: a peer, an account of its own for each test, the official SDK as its client.

import { after, before } from 'node:test';

import Stripe from 'stripe';

import { startPeer } from '../src/peer.mjs';

export const DAY = 86_400;
export const HOUR = 3600;
export const START = Date.UTC(2026, 0, 31, 12) / 1000;
export const CARD = { good: '4242424242424242', declined: '4000000000000002', failing: '4000000000000341' };

let peer;
let count = 0;

/** Starts a peer for the tests of a file. */
export function usePeer() {
  before(async () => {
    peer = await startPeer();
  });
  after(() => peer.close());
}

export const base = () => peer.base;

/** A client of an account. Without retries, so that a test sees each answer. */
export function client(key = `sk_test_t${(count += 1)}`, options = {}) {
  const { hostname: host, port } = new URL(peer.base);
  const stripe = new Stripe(key, { host, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false, ...options });
  const headers = { authorization: `Bearer ${key}` };
  const order = async (path, body = {}, method = 'POST') => {
    const answer = await fetch(`${peer.base}/_peer/${path}`, { method, headers, body: method === 'POST' ? JSON.stringify(body) : undefined });
    const found = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(found.error.message), found.error);
    return found;
  };
  return { stripe, key, headers, order };
}

/** An account with the three plans, a pack, and a customer who lives by a test clock. */
export async function shop({ at = START } = {}) {
  const made = client();
  const { stripe } = made;
  const prices = {};
  for (const [plan, amount] of [['personal', 1200], ['business', 4900], ['agency', 14_900]]) {
    prices[plan] = await stripe.prices.create({
      currency: 'usd',
      unit_amount: amount,
      recurring: { interval: 'month' },
      lookup_key: `camarad_${plan}_monthly`,
      product_data: { name: plan },
    });
  }
  prices.pack = await stripe.prices.create({ currency: 'usd', unit_amount: 900, lookup_key: 'camarad_topup_10000', product_data: { name: '10,000 cbT' } });
  const clock = await stripe.testHelpers.testClocks.create({ frozen_time: at });
  const customer = await stripe.customers.create({ email: 'ada@example.com', test_clock: clock.id });
  const advance = (to) => stripe.testHelpers.testClocks.advance(clock.id, { frozen_time: to });
  return { ...made, prices, clock, customer, advance };
}

/** Pays at the page of a session, as a browser would. */
export async function pay(session, card = CARD.good, more = {}) {
  const answer = await fetch(session.url, { method: 'POST', body: new URLSearchParams({ card, ...more }), redirect: 'manual' });
  return { status: answer.status, to: answer.headers.get('location'), page: await answer.text() };
}

/** A subscription that is paid by a good card, or one of `method`. */
export async function subscribe({ stripe, customer, prices }, { plan = 'personal', method = 'pm_card_visa', ...more } = {}) {
  const card = await stripe.paymentMethods.attach(method, { customer: customer.id });
  return stripe.subscriptions.create({ customer: customer.id, items: [{ price: prices[plan].id }], default_payment_method: card.id, ...more });
}

export async function invoicesOf({ stripe }, subscription) {
  const found = await stripe.invoices.list({ subscription: subscription.id ?? subscription, limit: 100 });
  return found.data.reverse();
}

export async function eventsOf({ stripe }) {
  const found = [];
  for await (const event of stripe.events.list({ limit: 100 })) found.push(event);
  return found.reverse();
}
