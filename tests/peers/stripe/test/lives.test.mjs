import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { CARD, DAY, HOUR, START, eventsOf, invoicesOf, pay, shop, subscribe, usePeer } from './stripe.mjs';

usePeer();

const trialSession = ({ stripe, customer, prices }) =>
  stripe.checkout.sessions.create({
    mode: 'subscription',
    customer: customer.id,
    success_url: 'https://app.example/done?session={CHECKOUT_SESSION_ID}',
    cancel_url: 'https://app.example/plans',
    payment_method_collection: 'always',
    line_items: [{ price: prices.personal.id, quantity: 1 }],
    subscription_data: { trial_period_days: 15, metadata: { user: 'u_1' } },
    automatic_tax: { enabled: true },
    customer_update: { address: 'auto' },
  });

describe('a life by Checkout', () => {
  it('begins with a trial, is told of its end, and becomes a paid month', async () => {
    const here = await shop();
    const session = await trialSession(here);
    const { status, to } = await pay(session);
    assert.deepEqual([status, to], [303, `https://app.example/done?session=${session.id}`]);
    const done = await here.stripe.checkout.sessions.retrieve(session.id, { expand: ['subscription', 'line_items'] });
    assert.deepEqual([done.status, done.payment_status, done.subscription.status], ['complete', 'no_payment_required', 'trialing']);
    assert.equal(done.subscription.trial_end, START + 15 * DAY);
    assert.equal(done.line_items.data[0].price.id, here.prices.personal.id);
    await here.advance(START + 12 * DAY);
    assert.equal((await eventsOf(here)).at(-2).type, 'customer.subscription.trial_will_end');
    await here.advance(START + 15 * DAY + HOUR);
    const [trial, month] = await invoicesOf(here, done.subscription);
    assert.deepEqual([trial.billing_reason, trial.total, trial.status, trial.lines.data[0].period], ['subscription_create', 0, 'paid', { start: START, end: START + 15 * DAY }]);
    assert.deepEqual([month.billing_reason, month.total, month.status], ['subscription_cycle', 1200, 'paid']);
    assert.equal(month.lines.data[0].period.start, START + 15 * DAY);
  });

  it('does not begin when the card is declined, and can be tried again', async () => {
    const here = await shop();
    const session = await trialSession(here);
    const refused = await pay(session, CARD.declined);
    assert.equal(refused.status, 402);
    assert.match(refused.page, /Your card was declined/);
    assert.deepEqual((await here.stripe.subscriptions.list({ customer: here.customer.id })).data, []);
    assert.equal((await pay(session)).status, 303);
  });

  it('ends after the card of a trial has failed four times', async () => {
    const here = await shop();
    await pay(await trialSession(here), CARD.failing);
    const end = START + 15 * DAY + HOUR;
    const [subscription] = (await here.stripe.subscriptions.list({ customer: here.customer.id })).data;
    const seen = [];
    for (const days of [0, 3, 8, 15]) {
      await here.advance(end + days * DAY);
      const { status } = await here.stripe.subscriptions.retrieve(subscription.id);
      const { attempt_count: attempts, next_payment_attempt: next } = (await invoicesOf(here, subscription)).at(-1);
      seen.push([status, attempts, next && (next - end) / DAY]);
    }
    assert.deepEqual(seen, [['past_due', 1, 3], ['past_due', 2, 8], ['past_due', 3, 15], ['canceled', 4, null]]);
    const { cancellation_details: details } = await here.stripe.subscriptions.retrieve(subscription.id);
    assert.equal(details.reason, 'payment_failed');
  });

  it('is saved by another card while it is past due', async () => {
    const here = await shop();
    await pay(await trialSession(here), CARD.failing);
    await here.advance(START + 16 * DAY);
    const [subscription] = (await here.stripe.subscriptions.list({ customer: here.customer.id })).data;
    const card = await here.stripe.paymentMethods.attach('pm_card_mastercard', { customer: here.customer.id });
    await assert.rejects(here.stripe.invoices.pay(subscription.latest_invoice), { code: 'card_declined', statusCode: 402 });
    const paid = await here.stripe.invoices.pay(subscription.latest_invoice, { payment_method: card.id });
    assert.equal(paid.status, 'paid');
    assert.equal((await here.stripe.subscriptions.retrieve(subscription.id)).status, 'active');
  });
});

describe('periods', () => {
  it('keep to the anchor’s day through short months', async () => {
    const here = await shop();
    const subscription = await subscribe(here);
    await here.advance(START + 100 * DAY);
    const starts = (await invoicesOf(here, subscription)).map(({ lines }) => new Date(lines.data[0].period.start * 1000).toISOString().slice(0, 10));
    assert.deepEqual(starts, ['2026-01-31', '2026-02-28', '2026-03-31', '2026-04-30']);
  });

  it('end where one has cancelled, and go on where one has thought better of it', async () => {
    const here = await shop();
    const subscription = await subscribe(here);
    const cancelled = await here.stripe.subscriptions.update(subscription.id, { cancel_at_period_end: true });
    assert.equal(cancelled.cancel_at, cancelled.items.data[0].current_period_end);
    await here.stripe.subscriptions.update(subscription.id, { cancel_at_period_end: false });
    await here.advance(START + 30 * DAY);
    await here.stripe.subscriptions.update(subscription.id, { cancel_at_period_end: true });
    await here.advance(START + 70 * DAY);
    const over = await here.stripe.subscriptions.retrieve(subscription.id);
    assert.deepEqual([over.status, over.ended_at], ['canceled', over.items.data[0].current_period_end]);
    assert.equal((await invoicesOf(here, subscription)).length, 2);
    assert.equal((await eventsOf(here)).filter(({ type }) => type === 'customer.subscription.deleted').length, 1);
  });
});

describe('a change of plan', () => {
  const APRIL = Date.UTC(2026, 3, 1) / 1000;
  const HALF = Date.UTC(2026, 3, 16) / 1000;
  const MAY = Date.UTC(2026, 4, 2) / 1000;

  it('costs what its preview says, at once', async () => {
    const here = await shop({ at: APRIL });
    const subscription = await subscribe(here);
    await here.advance(HALF);
    const items = [{ id: subscription.items.data[0].id, price: here.prices.business.id }];
    const preview = await here.stripe.invoices.createPreview({ subscription: subscription.id, subscription_details: { items, proration_behavior: 'always_invoice' } });
    assert.deepEqual(preview.lines.data.map(({ amount }) => amount), [-600, 2450]);
    assert.equal((await invoicesOf(here, subscription)).length, 1, 'a preview makes nothing');
    const changed = await here.stripe.subscriptions.update(subscription.id, { items, proration_behavior: 'always_invoice', expand: ['latest_invoice'] });
    assert.deepEqual([changed.latest_invoice.total, changed.latest_invoice.status, changed.latest_invoice.billing_reason], [1850, 'paid', 'subscription_update']);
    assert.equal(changed.items.data[0].current_period_end, subscription.items.data[0].current_period_end);
  });

  it('waits for the next bill with create_prorations, and costs nothing with none', async () => {
    const here = await shop({ at: APRIL });
    const subscription = await subscribe(here, { plan: 'business' });
    await here.advance(HALF);
    const items = (plan) => [{ id: subscription.items.data[0].id, price: here.prices[plan].id }];
    await here.stripe.subscriptions.update(subscription.id, { items: items('agency') });
    await here.stripe.subscriptions.update(subscription.id, { items: items('personal'), proration_behavior: 'none' });
    await here.advance(MAY);
    const bills = await invoicesOf(here, subscription);
    assert.deepEqual(bills.map(({ total }) => total), [4900, 7450 - 2450 + 1200]);
  });

  it('does not happen when the card is refused and that was asked for', async () => {
    const here = await shop();
    const subscription = await subscribe(here);
    const bad = await here.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer: here.customer.id });
    await here.stripe.subscriptions.update(subscription.id, { default_payment_method: bad.id });
    await here.advance(START + DAY);
    const items = [{ id: subscription.items.data[0].id, price: here.prices.business.id }];
    const change = { items, proration_behavior: 'always_invoice' };
    await assert.rejects(here.stripe.subscriptions.update(subscription.id, { ...change, payment_behavior: 'error_if_incomplete' }), { code: 'card_declined' });
    assert.equal((await invoicesOf(here, subscription)).length, 1);
    const waiting = await here.stripe.subscriptions.update(subscription.id, { ...change, payment_behavior: 'pending_if_incomplete' });
    assert.equal(waiting.pending_update.subscription_items[0].price.id, here.prices.business.id);
    assert.deepEqual([waiting.status, waiting.items.data[0].price.id], ['active', here.prices.personal.id]);
    await here.advance(START + 3 * DAY);
    const after = await here.stripe.subscriptions.retrieve(subscription.id, { expand: ['latest_invoice'] });
    assert.deepEqual([after.pending_update, after.latest_invoice.status, after.items.data[0].price.id], [null, 'void', here.prices.personal.id]);
  });

  it('gives back what was debited, as flexible billing does', async () => {
    const here = await shop({ at: APRIL });
    const subscription = await subscribe(here, { plan: 'agency' });
    const items = (plan) => [{ id: subscription.items.data[0].id, price: here.prices[plan].id }];
    await here.advance(HALF);
    await here.stripe.subscriptions.update(subscription.id, { items: items('personal'), proration_behavior: 'none' });
    const up = await here.stripe.subscriptions.update(subscription.id, { items: items('business'), proration_behavior: 'always_invoice', expand: ['latest_invoice'] });
    assert.equal(up.latest_invoice.total, 2450 - 7450, 'half of Agency comes back, though the price was Personal by then');
    assert.equal((await here.stripe.customers.retrieve(here.customer.id)).balance, -5000);
    await here.advance(MAY);
    const last = (await invoicesOf(here, subscription)).at(-1);
    assert.deepEqual([last.total, last.starting_balance, last.amount_due, last.ending_balance, last.status], [4900, -5000, 0, -100, 'paid']);
  });
});

describe('a purchase', () => {
  const session = ({ stripe, customer, prices }) =>
    stripe.checkout.sessions.create({ mode: 'payment', customer: customer.id, success_url: 'https://app.example/', cancel_url: 'https://app.example/back', line_items: [{ price: prices.pack.id, quantity: 1 }] });

  it('is paid at once, and can be given back in parts', async () => {
    const here = await shop();
    const { id } = await session(here).then(async (made) => (await pay(made), made));
    const done = await here.stripe.checkout.sessions.retrieve(id, { expand: ['payment_intent.latest_charge'] });
    assert.deepEqual([done.payment_status, done.amount_total, done.payment_intent.latest_charge.paid], ['paid', 900, true]);
    const intent = done.payment_intent.id;
    await here.stripe.refunds.create({ payment_intent: intent, amount: 300 });
    await here.stripe.refunds.create({ payment_intent: intent });
    await assert.rejects(here.stripe.refunds.create({ payment_intent: intent }), { code: 'charge_already_refunded' });
    const told = (await eventsOf(here)).filter(({ type }) => type === 'charge.refunded').map(({ data }) => [data.object.amount_refunded, data.object.refunded]);
    assert.deepEqual(told, [[300, false], [900, true]]);
  });

  it('can be called off, and expires by itself', async () => {
    const here = await shop();
    const [one, two] = [await session(here), await session(here)];
    assert.equal((await pay(one, CARD.good, { cancel: '1' })).to, 'https://app.example/back');
    assert.equal((await here.stripe.checkout.sessions.expire(one.id)).status, 'expired');
    await here.advance(START + 25 * HOUR);
    assert.equal((await here.stripe.checkout.sessions.retrieve(two.id)).status, 'expired');
    assert.equal((await pay(two)).status, 409);
  });
});
