// Random lives: whatever is done in whatever order, the peer's own books agree. PEER_SEED repeats one, PEER_SEEDS does more.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { seeded } from '../src/random.mjs';
import { DAY, eventsOf, pay, shop, usePeer } from './stripe.mjs';

usePeer();

const SEEDS = process.env.PEER_SEED ? [Number(process.env.PEER_SEED)] : Array.from({ length: Number(process.env.PEER_SEEDS ?? 25) }, (_, index) => index + 1);
const STEPS = 30;
const OVER = ['canceled', 'incomplete_expired'];

const one = (random, entries) => entries[Math.floor(random() * entries.length)];

/** What a person or a program might do next. A refusal is an answer, too. */
const MOVES = {
  async advance({ here, random }) {
    here.at += Math.floor(random() * 25 * DAY) + 1;
    await here.advance(here.at);
  },
  async checkout({ here, random, subscription }) {
    if (subscription && !OVER.includes(subscription.status)) return;
    const { stripe, customer, prices } = here;
    const session = await stripe.checkout.sessions.create({
      mode: 'subscription',
      customer: customer.id,
      success_url: 'http://x/',
      line_items: [{ price: prices[one(random, ['personal', 'business'])].id, quantity: 1 }],
      ...(random() < 0.5 && { subscription_data: { trial_period_days: 1 + Math.floor(random() * 20) } }),
    });
    await pay(session, one(random, ['4242424242424242', '4000000000000341', '4000000000000002']));
  },
  change: ({ here, random, subscription }) =>
    subscription &&
    here.stripe.subscriptions.update(subscription.id, {
      items: [{ id: subscription.items.data[0].id, price: here.prices[one(random, ['personal', 'business', 'agency'])].id }],
      proration_behavior: one(random, ['always_invoice', 'create_prorations', 'none']),
      payment_behavior: one(random, ['allow_incomplete', 'error_if_incomplete', 'pending_if_incomplete']),
    }),
  cancelAtEnd: ({ here, random, subscription }) => subscription && here.stripe.subscriptions.update(subscription.id, { cancel_at_period_end: random() < 0.5 }),
  cancel: ({ here, random, subscription }) => subscription && random() < 0.3 && here.stripe.subscriptions.cancel(subscription.id),
  async card({ here, random, subscription }) {
    const method = await here.stripe.paymentMethods.attach(one(random, ['pm_card_visa', 'pm_card_chargeCustomerFail']), { customer: here.customer.id });
    if (subscription) await here.stripe.subscriptions.update(subscription.id, { default_payment_method: method.id });
  },
  pay: ({ here, subscription }) => subscription && here.stripe.invoices.pay(subscription.latest_invoice),
};

const NAMES = ['advance', 'advance', 'advance', 'checkout', 'checkout', 'change', 'change', 'cancelAtEnd', 'cancel', 'card', 'card', 'pay'];

async function live(seed) {
  const random = seeded(seed);
  const here = await shop();
  here.at = here.clock.frozen_time;
  for (let step = 0; step < STEPS; step += 1) {
    const [subscription] = (await here.stripe.subscriptions.list({ customer: here.customer.id, status: 'all', limit: 1 })).data;
    const name = one(random, NAMES);
    await Promise.resolve(MOVES[name]({ here, random, subscription })).catch((error) => {
      if (!(error.statusCode >= 400 && error.statusCode < 500)) throw error;
    });
  }
  return here;
}

const all = async (list) => {
  const found = [];
  for await (const entry of list) found.push(entry);
  return found.reverse();
};

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Every period of a subscription has been billed once, without a gap. */
function checkPeriods(subscription, invoices) {
  const own = invoices.filter(({ parent }) => parent?.subscription_details.subscription === subscription.id);
  const periods = own.flatMap(({ lines }) => lines.data.filter(({ parent }) => !parent.subscription_item_details.proration).map(({ period }) => period));
  assert.equal(new Set(periods.map(({ start }) => start)).size, periods.length, 'a period was billed twice');
  periods.sort((a, b) => a.start - b.start);
  periods.slice(1).forEach(({ start }, index) => assert.equal(start, periods[index].end, 'a gap between periods'));
  const { current_period_start: start, current_period_end: end } = subscription.items.data[0];
  assert.deepEqual(periods.at(-1), { start, end }, 'the period that runs is the last that was billed');
}

/** Each bill adds up, and what was charged is what bills say was paid. */
function checkMoney({ invoices, charges, customer }) {
  for (const invoice of invoices) {
    assert.equal(invoice.total, sum(invoice.lines.data.map(({ amount }) => amount)));
    assert.equal(invoice.amount_remaining, invoice.status === 'void' ? 0 : invoice.amount_due - invoice.amount_paid);
    const left = Math.max(0, invoice.total + invoice.starting_balance);
    assert.equal(invoice.amount_due, left < 50 ? 0 : left, 'a balance is used up first');
    if (invoice.status === 'paid') assert.equal(invoice.amount_paid, invoice.amount_due);
  }
  const paid = sum(invoices.map(({ amount_paid: amount }) => amount));
  assert.equal(sum(charges.filter(({ status }) => status === 'succeeded').map(({ amount }) => amount)), paid);
  const final = invoices.filter(({ status }) => status !== 'draft');
  const carried = sum(final.map(({ total, amount_due: due }) => total - due));
  assert.equal(customer.balance, carried, 'the balance is what bills put there');
}

/** The last event of each object shows it as it is, and each change before it was told. */
function checkEvents(events, objects) {
  const last = new Map();
  for (const event of events) last.set(event.data.object.id, event.data.object);
  for (const object of objects) assert.deepEqual(last.get(object.id), object, `${object.id} has changed without an event`);
  for (const type of ['invoice.paid', 'invoice.created', 'customer.subscription.created', 'customer.subscription.deleted', 'invoice.finalized']) {
    const seen = events.filter((event) => event.type === type).map((event) => event.data.object.id);
    assert.equal(new Set(seen).size, seen.length, `${type} twice for one object`);
  }
}

describe('random lives', () => {
  for (const seed of SEEDS) {
    it(`keep the books, seed ${seed}`, async () => {
      const here = await live(seed);
      const { stripe } = here;
      const plain = (value) => JSON.parse(JSON.stringify(value));
      const subscriptions = plain(await all(stripe.subscriptions.list({ customer: here.customer.id, status: 'all', limit: 100 })));
      const invoices = plain(await all(stripe.invoices.list({ customer: here.customer.id, limit: 100 })));
      const charges = await all(stripe.charges.list({ customer: here.customer.id, limit: 100 }));
      const customer = plain(await stripe.customers.retrieve(here.customer.id));
      for (const subscription of subscriptions) checkPeriods(subscription, invoices);
      checkMoney({ invoices, charges, customer });
      checkEvents(plain(await eventsOf(here)), [...subscriptions, ...invoices, customer].map(({ lastResponse, ...object }) => object));
    });
  }
});
