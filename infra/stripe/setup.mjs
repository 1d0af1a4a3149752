// Puts into a Stripe account what Camarad needs there: products and prices by lookup key, the customer portal's
// configuration and, with --webhook, the endpoint. A second run changes nothing.
//
//     STRIPE_SECRET_KEY=sk_test_… node infra/stripe/setup.mjs [--api https://api.stripe.com] [--webhook URL] [--json]
//
// What is sold is in catalogue.json. A price cannot change at Stripe: where the amount is another, a new price takes over the
// lookup key, and the old one stays for those who have it, inactive for others.

import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const VERSION = '2026-09-30.endive';
const MARK = 'camarad';
const TRIES = 3;
const PAUSE_MS = 500;
/** Software as a service, for business use: https://docs.stripe.com/tax/tax-codes */
const TAX_CODE = 'txcd_10103001';

const EVENTS = [
  'charge.dispute.closed',
  'charge.refunded',
  'checkout.session.async_payment_succeeded',
  'checkout.session.completed',
  'customer.deleted',
  'customer.subscription.created',
  'customer.subscription.deleted',
  'customer.subscription.paused',
  'customer.subscription.resumed',
  'customer.subscription.trial_will_end',
  'customer.subscription.updated',
  'invoice.marked_uncollectible',
  'invoice.paid',
  'invoice.payment_failed',
  'invoice.payment_succeeded',
  'invoice.voided',
  'payment_method.attached',
  'payment_method.detached',
];

const PORTAL = {
  'features[customer_update][enabled]': 'true',
  'features[customer_update][allowed_updates][0]': 'address',
  'features[customer_update][allowed_updates][1]': 'tax_id',
  'features[invoice_history][enabled]': 'true',
  'features[payment_method_update][enabled]': 'true',
  'features[subscription_cancel][enabled]': 'true',
  'features[subscription_cancel][mode]': 'at_period_end',
  // Plans change through our own API, which previews the price and knows the limits.
  'features[subscription_update][enabled]': 'false',
};

class Account {
  constructor(api, key) {
    this.api = api;
    this.key = key;
    this.made = [];
  }

  /** The same order twice, because an answer was lost, is carried out once. */
  async #call(method, path, form) {
    const body = form && new URLSearchParams(form).toString();
    const headers = { authorization: `Bearer ${this.key}`, 'stripe-version': VERSION };
    if (body !== undefined) Object.assign(headers, { 'content-type': 'application/x-www-form-urlencoded', 'idempotency-key': `camarad-setup-${randomUUID()}` });
    for (let left = TRIES - 1; ; left -= 1) {
      try {
        return await this.#once(path, { method, headers, body });
      } catch (error) {
        if (left === 0 || (error.status !== undefined && error.status < 500 && error.status !== 409 && error.status !== 429)) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }

  async #once(path, request) {
    const answer = await fetch(this.api + path, { ...request, signal: AbortSignal.timeout(30_000) });
    const found = await answer.json();
    if (answer.ok) return found;
    throw Object.assign(new Error(`${request.method} ${path}: ${answer.status} ${found.error?.message ?? ''}`), { status: answer.status });
  }

  get = (path) => this.#call('GET', path);

  async post(path, form, what) {
    const made = await this.#call('POST', path, form);
    this.made.push(`${what} ${made.id}`);
    return made;
  }

  async find(path) {
    try {
      return await this.get(path);
    } catch (error) {
      if (error.status === 404) return undefined;
      throw error;
    }
  }

  async all(path) {
    const found = [];
    for (let after = ''; ; ) {
      const page = await this.get(`${path}${path.includes('?') ? '&' : '?'}limit=100${after}`);
      found.push(...page.data);
      if (!page.has_more) return found;
      after = `&starting_after=${page.data.at(-1).id}`;
    }
  }
}

async function product(account, { id, name, metadata }) {
  const known = await account.find(`/v1/products/${id}`);
  const form = { name, tax_code: TAX_CODE, ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [`metadata[${key}]`, value])) };
  if (!known) return account.post('/v1/products', { id, ...form }, 'product');
  const same = known.name === name && known.tax_code === TAX_CODE && known.active && Object.entries(metadata).every(([key, value]) => known.metadata[key] === value);
  return same ? known : account.post(`/v1/products/${id}`, { ...form, active: 'true' }, 'changed product');
}

/** A price tells by its metadata what it is of: its lookup key may go to another. */
async function price(account, { lookupKey, priceCents, currency, monthly, productId, metadata }) {
  const marks = Object.fromEntries(Object.entries(metadata).map(([key, value]) => [`metadata[${key}]`, value]));
  const [known] = (await account.get(`/v1/prices?lookup_keys[]=${lookupKey}&active=true`)).data;
  const same = known && known.unit_amount === priceCents && known.currency === currency && (known.recurring?.interval ?? null) === (monthly ? 'month' : null) && known.product === productId;
  const marked = known && Object.entries(metadata).every(([key, value]) => known.metadata[key] === value);
  if (same) return marked ? known : account.post(`/v1/prices/${known.id}`, marks, 'changed price');
  const made = await account.post(
    '/v1/prices',
    {
      product: productId,
      currency,
      unit_amount: String(priceCents),
      lookup_key: lookupKey,
      transfer_lookup_key: 'true',
      tax_behavior: 'exclusive',
      ...marks,
      ...(monthly && { 'recurring[interval]': 'month' }),
    },
    `price ${lookupKey}`,
  );
  if (known) await account.post(`/v1/prices/${known.id}`, { active: 'false' }, 'inactive price');
  return made;
}

async function prices(account, { currency, plans, topUps }) {
  const found = {};
  for (const { id, name, lookupKey, priceCents } of plans) {
    const metadata = { plan: id };
    const sold = await product(account, { id: `camarad_${id}`, name, metadata });
    found[lookupKey] = (await price(account, { lookupKey, priceCents, currency, monthly: true, productId: sold.id, metadata })).id;
  }
  for (const { cbt, name, lookupKey, priceCents } of topUps) {
    const metadata = { cbt: String(cbt) };
    const sold = await product(account, { id: lookupKey, name, metadata });
    found[lookupKey] = (await price(account, { lookupKey, priceCents, currency, monthly: false, productId: sold.id, metadata })).id;
  }
  return found;
}

async function portal(account) {
  const wanted = createHash('sha256').update(JSON.stringify(PORTAL)).digest('hex').slice(0, 16);
  const mark = { [`metadata[${MARK}]`]: wanted };
  const known = (await account.all('/v1/billing_portal/configurations')).find(({ active, metadata }) => active && metadata[MARK]);
  if (!known) return account.post('/v1/billing_portal/configurations', { ...PORTAL, ...mark }, 'portal configuration');
  return known.metadata[MARK] === wanted ? known : account.post(`/v1/billing_portal/configurations/${known.id}`, { ...PORTAL, ...mark }, 'changed portal configuration');
}

/** The secret is told by Stripe once, when the endpoint is made. */
async function endpoint(account, url) {
  const types = Object.fromEntries(EVENTS.map((type, index) => [`enabled_events[${index}]`, type]));
  const known = (await account.all('/v1/webhook_endpoints')).find((entry) => entry.url === url);
  if (!known) return account.post('/v1/webhook_endpoints', { url, api_version: VERSION, ...types }, 'webhook endpoint');
  const same = known.status === 'enabled' && [...known.enabled_events].sort().join() === [...EVENTS].sort().join();
  return same ? known : account.post(`/v1/webhook_endpoints/${known.id}`, { ...types, disabled: 'false' }, 'changed webhook endpoint');
}

export async function setUp({ api, key, webhook, catalogue }) {
  const account = new Account(api.replace(/\/+$/, ''), key);
  const result = { prices: await prices(account, catalogue), portal: (await portal(account)).id };
  if (webhook) {
    const { id, secret } = await endpoint(account, webhook);
    result.webhook = { id, ...(secret && { secret }) };
  }
  return { ...result, made: account.made };
}

function tell({ prices: found, portal: configuration, webhook, made }) {
  for (const [lookupKey, id] of Object.entries(found)) console.log(`${lookupKey.padEnd(26)} ${id}`);
  console.log(`${'portal'.padEnd(26)} ${configuration}`);
  if (webhook) console.log(`${'webhook'.padEnd(26)} ${webhook.id}`);
  console.log(made.length > 0 ? `made: ${made.join(', ')}` : 'nothing was to be done');
  if (webhook?.secret) console.log(`The webhook's secret, told only now; it belongs under webhookSecrets in the stack's secret StripeKeys: ${webhook.secret}`);
}

async function main() {
  const options = { api: { type: 'string', default: 'https://api.stripe.com' }, webhook: { type: 'string' }, json: { type: 'boolean', default: false } };
  const { values } = parseArgs({ options });
  const key = process.env.STRIPE_SECRET_KEY;
  if (!key) throw new Error('STRIPE_SECRET_KEY is not set');
  const catalogue = JSON.parse(readFileSync(new URL('catalogue.json', import.meta.url), 'utf8'));
  const result = await setUp({ api: values.api, key, webhook: values.webhook, catalogue });
  if (values.json) console.log(JSON.stringify(result));
  else tell(result);
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  main().catch((error) => {
    console.error(`stripe-setup: ${error.message}`);
    process.exitCode = 1;
  });
}
