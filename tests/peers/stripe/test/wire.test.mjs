import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, it } from 'node:test';


import { base, client, pay, shop, subscribe, usePeer } from './stripe.mjs';

usePeer();

const raw = (key, path, { body, idempotencyKey, method = 'POST' } = {}) =>
  fetch(base() + path, {
    method,
    body: body && new URLSearchParams(body),
    headers: { authorization: `Bearer ${key}`, ...(idempotencyKey && { 'idempotency-key': idempotencyKey }) },
  });

describe('who asks', () => {
  it('has a key, as bearer or as the user of HTTP Basic', async () => {
    for (const key of ['sk_live_1', 'nonsense', 'sk_test_wrong', '']) {
      const answer = await raw(key, '/v1/customers', { method: 'GET' });
      assert.equal(answer.status, 401, key);
      assert.equal((await answer.json()).error.type, 'invalid_request_error');
    }
    const { key } = client();
    const basic = await fetch(`${base()}/v1/customers`, { headers: { authorization: `Basic ${Buffer.from(`${key}:`).toString('base64')}` } });
    assert.equal(basic.status, 200);
    assert.match(basic.headers.get('request-id'), /^req_/);
  });

  it('is refused once the key is expired', async () => {
    const { stripe, order } = client();
    await order('revoke');
    await assert.rejects(stripe.customers.list(), { type: 'StripeAuthenticationError', code: 'api_key_expired' });
  });
});

describe('refusals', () => {
  it('name the parameter', async () => {
    const { stripe } = client();
    const refused = (call, code, param, statusCode = 400) => assert.rejects(call, { code, param, statusCode });
    await refused(stripe.customers.create({ nickname: 'x' }), 'parameter_unknown', 'nickname');
    await refused(stripe.products.create({}), 'parameter_missing', 'name');
    await refused(stripe.customers.retrieve('cus_none'), 'resource_missing', 'id', 404);
    await refused(stripe.subscriptions.create({ customer: 'cus_none', items: [{ price: 'p' }] }), 'resource_missing', 'customer');
    await refused(stripe.prices.create({ currency: 'usd', product: 'prod_1', unit_amount: 1.5 }), 'parameter_invalid_integer', 'unit_amount');
    await refused(stripe.customers.list({ limit: 101 }), 'parameter_invalid_integer', 'limit');
    await refused(stripe.checkout.sessions.create({ mode: 'payment', success_url: 'http://x', line_items: [{ price: 'price_no', quantity: 1 }] }), 'resource_missing', 'line_items[0][price]');
    await refused(stripe.customers.list({ expand: ['email'] }), undefined, 'expand');
  });

  it('answer an unknown path with 404', async () => {
    const { key } = client();
    assert.equal((await raw(key, '/v1/nothing', { method: 'GET' })).status, 404);
  });
});

describe('pages', () => {
  it('go both ways, newest first', async () => {
    const { stripe } = client();
    const ids = [];
    for (let n = 0; n < 7; n += 1) ids.unshift((await stripe.customers.create({ metadata: { n } })).id);
    const first = await stripe.customers.list({ limit: 3 });
    assert.deepEqual([first.data.map(({ id }) => id), first.has_more], [ids.slice(0, 3), true]);
    const next = await stripe.customers.list({ limit: 4, starting_after: ids[2] });
    assert.deepEqual([next.data.map(({ id }) => id), next.has_more], [ids.slice(3), false]);
    const back = await stripe.customers.list({ limit: 2, ending_before: ids[3] });
    assert.deepEqual([back.data.map(({ id }) => id), back.has_more], [ids.slice(1, 3), true]);
  });
});

describe('an idempotency key', () => {
  it('replays the first answer byte for byte', async () => {
    const { key, stripe } = client();
    const ask = () => raw(key, '/v1/customers', { body: { email: 'a@example.com' }, idempotencyKey: 'k1' });
    const [first, again] = [await ask(), await ask()];
    assert.equal(await first.text(), await again.text());
    assert.equal(first.headers.get('idempotent-replayed'), null);
    assert.equal(again.headers.get('idempotent-replayed'), 'true');
    assert.equal(again.headers.get('original-request'), first.headers.get('request-id'));
    assert.equal((await stripe.customers.list()).data.length, 1);
  });

  it('refuses other parameters, and a call that is under way', async () => {
    const { key, stripe, order } = client();
    await stripe.customers.create({ email: 'a@example.com' }, { idempotencyKey: 'k1' });
    await assert.rejects(stripe.customers.create({ email: 'b@example.com' }, { idempotencyKey: 'k1' }), { type: 'StripeIdempotencyError', statusCode: 400 });
    await order('faults', { method: 'POST', path: '/v1/customers', latencyMs: 150 });
    const slow = raw(key, '/v1/customers', { body: { email: 'c@example.com' }, idempotencyKey: 'k2' });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal((await raw(key, '/v1/customers', { body: { email: 'c@example.com' }, idempotencyKey: 'k2' })).status, 409);
    assert.equal((await slow).status, 200);
  });

  it('keeps a declined card, not a refused parameter', async () => {
    const { stripe, customer } = await shop();
    await assert.rejects(stripe.customers.create({ nope: '1' }, { idempotencyKey: 'k' }));
    assert.ok(await stripe.customers.create({ email: 'a@example.com' }, { idempotencyKey: 'k' }));
    const charge = () => stripe.paymentIntents.create({ amount: 500, currency: 'usd', customer: customer.id, payment_method: 'pm_card_chargeCustomerFail', confirm: true }, { idempotencyKey: 'c' });
    const seen = [];
    for (let n = 0; n < 2; n += 1) await charge().catch((error) => seen.push([error.code, error.headers['idempotent-replayed']]));
    assert.deepEqual(seen, [['card_declined', undefined], ['card_declined', 'true']]);
  });
});

describe('faults', () => {
  it('fail the n-th call, and lose an answer after its work was done', async () => {
    const { stripe, order, key } = client();
    await order('faults', [{ method: 'POST', path: '/v1/customers', nth: 2, status: 503 }, { method: 'POST', path: '/v1/products', lose: 'after' }]);
    await stripe.customers.create({});
    await assert.rejects(stripe.customers.create({}), { statusCode: 503 });
    await stripe.customers.create({});
    const body = { name: 'x' };
    await assert.rejects(raw(key, '/v1/products', { body, idempotencyKey: 'p' }));
    const again = await raw(key, '/v1/products', { body, idempotencyKey: 'p' });
    assert.equal(again.headers.get('idempotent-replayed'), 'true');
    assert.equal((await stripe.products.list()).data.length, 1);
    const log = await order('requests', undefined, 'GET');
    assert.deepEqual(log.filter(({ idempotencyKey }) => idempotencyKey === 'p').map(({ replayed, status }) => [replayed, status]), [[false, 200], [true, 200]]);
  });

  it('meet those calls alone that send a text', async () => {
    const { stripe, order } = client();
    await order('faults', { method: 'POST', path: '/v1/customers', holding: 'usr_ann', times: 2, status: 503 });
    for (let n = 0; n < 2; n += 1) {
      await stripe.customers.create({ metadata: { userId: 'usr_bob' } });
      await assert.rejects(stripe.customers.create({ metadata: { userId: 'usr_ann' } }), { statusCode: 503 });
    }
    await stripe.customers.create({ metadata: { userId: 'usr_ann' } });
    assert.equal((await stripe.customers.list()).data.length, 3);
  });
});

/** An endpoint that keeps what comes, and refuses the first `refusals`. */
async function listener(refusals = 0) {
  const got = [];
  const server = createServer(async (req, res) => {
    const parts = [];
    for await (const part of req) parts.push(part);
    got.push({ body: Buffer.concat(parts).toString(), signature: req.headers['stripe-signature'] });
    res.writeHead(got.length <= refusals ? 500 : 200).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { got, url: `http://127.0.0.1:${server.address().port}/hook`, close: () => server.close() };
}

describe('webhooks', () => {
  it('are signed so that the SDK takes them, by each secret while they are rotated', async () => {
    const hook = await listener();
    const { stripe, order } = client();
    const { id, secret } = await stripe.webhookEndpoints.create({ url: hook.url, enabled_events: ['customer.created'] });
    await stripe.customers.create({ email: 'a@example.com' });
    await order('webhook_endpoints/' + id + '/secrets', { secrets: [secret, 'whsec_new'] });
    await stripe.customers.create({ email: 'b@example.com' });
    await order('webhooks/settle');
    const [one, two] = hook.got;
    const event = stripe.webhooks.constructEvent(one.body, one.signature, secret);
    assert.deepEqual([event.type, event.data.object.email, event.api_version], ['customer.created', 'a@example.com', '2026-09-30.endive']);
    assert.equal(stripe.webhooks.constructEvent(two.body, two.signature, 'whsec_new').data.object.email, 'b@example.com');
    const at = /t=(\d+)/.exec(one.signature)[1];
    assert.ok(one.signature.includes(createHmac('sha256', secret).update(`${at}.${one.body}`).digest('hex')));
    assert.throws(() => stripe.webhooks.constructEvent(one.body, one.signature, 'whsec_other'));
    hook.close();
  });

  it('are sent again until they are taken', async () => {
    const hook = await listener(2);
    const { stripe, order } = client();
    await order('webhooks', { retryMs: 5 });
    await stripe.webhookEndpoints.create({ url: hook.url, enabled_events: ['*'] });
    await stripe.customers.create({});
    const { attempts } = await order('webhooks/settle');
    assert.deepEqual(attempts.map(({ attempt, status }) => [attempt, status]), [[1, 500], [2, 500], [3, 200]]);
    hook.close();
  });

  it('are held, and let go in an order, doubled, without some, the same for the same seed', async () => {
    const hook = await listener();
    const here = await shop();
    await here.order('webhooks', { hold: true, concurrency: 1 });
    await here.stripe.webhookEndpoints.create({ url: hook.url, enabled_events: ['*'] });
    await subscribe(here);
    const { held } = await here.order('webhooks', undefined, 'GET');
    const ids = held.map(({ event }) => event);
    assert.ok(ids.length > 8);
    await here.order('webhooks/release', { events: [ids[2], ids[0]] });
    await here.order('webhooks/settle');
    assert.deepEqual(hook.got.map(({ body }) => JSON.parse(body).id), [ids[2], ids[0]]);
    const taken = await here.order('webhooks/take', { seed: 7, duplicatePercent: 40, drop: [ids[1]] });
    const order = taken.map(({ event }) => event);
    assert.ok(order.length > ids.length - 3 && !order.includes(ids[1]));
    assert.notDeepEqual(order, [...order].sort((a, b) => ids.indexOf(a) - ids.indexOf(b)));
    assert.deepEqual((await here.order('webhooks/take')).length, 0);
    hook.close();
  });
});

describe('the portal', () => {
  it('cancels, goes on, takes another card, and pays what is open', async () => {
    const here = await shop();
    const subscription = await subscribe(here, { method: 'pm_card_chargeCustomerFail', trial_period_days: 5 });
    await here.stripe.billingPortal.configurations.create({ features: { subscription_cancel: { enabled: true }, payment_method_update: { enabled: true }, invoice_history: { enabled: true } } });
    const session = await here.stripe.billingPortal.sessions.create({ customer: here.customer.id, return_url: 'https://app.example/billing' });
    assert.match(await (await fetch(session.url)).text(), /personal.*trialing/s);
    const act = (action, more = {}) => fetch(session.url, { method: 'POST', body: new URLSearchParams({ action, ...more }), redirect: 'manual' });
    const now = () => here.stripe.subscriptions.retrieve(subscription.id);
    await act('cancel', { id: subscription.id });
    assert.equal((await now()).cancel_at_period_end, true);
    await act('resume', { id: subscription.id });
    assert.equal((await now()).cancel_at_period_end, false);
    await here.advance(here.clock.frozen_time + 6 * 86_400);
    assert.equal((await now()).status, 'past_due');
    assert.equal((await act('card', { card: '5555 5555 5555 4444' })).status, 303);
    assert.equal((await act('pay', { id: (await now()).latest_invoice })).status, 303);
    assert.equal((await now()).status, 'active');
    const invoice = await here.stripe.invoices.retrieve((await now()).latest_invoice);
    assert.match(await (await fetch(invoice.hosted_invoice_url)).text(), /paid/);
    assert.equal((await (await fetch(invoice.invoice_pdf)).text()).slice(0, 5), '%PDF-');
  });

  it('does not touch what belongs to another', async () => {
    const [here, there] = [await shop(), await shop()];
    const other = await here.stripe.customers.create({});
    const subscription = await subscribe(here);
    await here.stripe.billingPortal.configurations.create({ features: { subscription_cancel: { enabled: true } } });
    const session = await here.stripe.billingPortal.sessions.create({ customer: other.id });
    const answer = await fetch(session.url, { method: 'POST', body: new URLSearchParams({ action: 'cancel', id: subscription.id }) });
    assert.equal(answer.status, 402);
    assert.equal((await here.stripe.subscriptions.retrieve(subscription.id)).cancel_at_period_end, false);
    await assert.rejects(there.stripe.subscriptions.retrieve(subscription.id), { statusCode: 404 });
  });
});

describe('time', () => {
  it('of an account goes on as it is told, for customers without a test clock', async () => {
    const { stripe, order } = client();
    const price = await stripe.prices.create({ currency: 'usd', unit_amount: 1200, recurring: { interval: 'month' }, product_data: { name: 'p' } });
    const customer = await stripe.customers.create({ payment_method: 'pm_card_visa' });
    const [card] = (await stripe.paymentMethods.list({ customer: customer.id })).data;
    const subscription = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }], default_payment_method: card.id });
    const { now } = await order('account', undefined, 'GET');
    const after = await order('time', { advance: 40 * 86_400 });
    assert.ok(after.now - now >= 40 * 86_400);
    assert.equal((await stripe.invoices.list({ subscription: subscription.id })).data.length, 2);
    await assert.rejects(order('time', { now: now - 1 }), /does not go back/);
    const session = await stripe.checkout.sessions.create({ mode: 'setup', customer: customer.id, success_url: 'http://x/' });
    assert.equal((await pay(session)).status, 303);
  });
});
