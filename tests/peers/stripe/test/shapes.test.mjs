// Objects have the fields that the official SDK's types promise, and no others; parameters are those that Stripe knows.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { ROUTES } from '../src/resources/index.mjs';
import { DAY, START, eventsOf, pay, shop, subscribe, usePeer } from './stripe.mjs';

usePeer();

const FOLDER = new URL('../node_modules/stripe/esm/resources/', import.meta.url);

/** field -> whether it is always there, of an interface of a declaration file. */
function fieldsOf(file, name) {
  const source = readFileSync(new URL(`${file}.d.ts`, FOLDER), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
  const found = new RegExp(`^( *)(?:export )?interface ${name}(?: extends [^{]+)? \\{\\n([\\s\\S]*?)^\\1\\}`, 'm').exec(source);
  assert.ok(found, `${file}: interface ${name}`);
  const [, indent, body] = found;
  const field = new RegExp(`^${indent}    (\\w+)(\\??):`, 'gm');
  return new Map([...body.matchAll(field)].map(([, key, optional]) => [key, !optional]));
}

/** What is wrong with an object, as a line; nothing when all is well. */
function wrong(value, file, name) {
  const fields = fieldsOf(file, name);
  const missing = [...fields].filter(([key, always]) => always && key !== 'lastResponse' && value[key] === undefined).map(([key]) => key);
  const unknown = Object.keys(value).filter((key) => !fields.has(key) && key !== 'lastResponse');
  return missing.length + unknown.length > 0 ? [`${name}: without ${missing}; with ${unknown}`] : [];
}

describe('shapes', () => {
  it('are those of the SDK’s types', async () => {
    const here = await shop();
    const { stripe, customer, prices } = here;
    const session = await stripe.checkout.sessions.create({ mode: 'payment', customer: customer.id, success_url: 'http://x/', line_items: [{ price: prices.pack.id, quantity: 1 }] });
    await pay(session);
    const subscription = await subscribe(here, { trial_period_days: 2 });
    const endpoint = await stripe.webhookEndpoints.create({ url: 'http://127.0.0.1:9/', enabled_events: ['*'] });
    const configuration = await stripe.billingPortal.configurations.create({ features: { invoice_history: { enabled: true } } });
    await here.advance(START + 4 * DAY);
    const done = await stripe.checkout.sessions.retrieve(session.id, { expand: ['payment_intent.latest_charge', 'line_items'] });
    const invoice = await stripe.invoices.retrieve((await stripe.subscriptions.retrieve(subscription.id)).latest_invoice, { expand: ['payments'] });
    const change = { items: [{ id: subscription.items.data[0].id, price: prices.agency.id }], proration_behavior: 'always_invoice' };
    const preview = await stripe.invoices.createPreview({ subscription: subscription.id, subscription_details: change });
    const product = await stripe.products.retrieve(prices.pack.product);
    const card = (await stripe.paymentMethods.list({ customer: customer.id })).data[0];
    const shapes = [
      [customer, 'Customers', 'Customer'],
      [product, 'Products', 'Product'],
      [prices.personal, 'Prices', 'Price'],
      [done, 'Checkout/Sessions', 'Session'],
      [done.payment_intent, 'PaymentIntents', 'PaymentIntent'],
      [done.payment_intent.latest_charge, 'Charges', 'Charge'],
      [await stripe.refunds.create({ payment_intent: done.payment_intent.id }), 'Refunds', 'Refund'],
      [await stripe.subscriptions.retrieve(subscription.id), 'Subscriptions', 'Subscription'],
      [subscription.items.data[0], 'SubscriptionItems', 'SubscriptionItem'],
      [subscription.items.data[0].plan, 'Plans', 'Plan'],
      [invoice, 'Invoices', 'Invoice'],
      [invoice.payments.data[0], 'InvoicePayments', 'InvoicePayment'],
      [invoice.lines.data[0], 'InvoiceLineItems', 'InvoiceLineItem'],
      [preview, 'Invoices', 'Invoice'],
      [preview.lines.data[0], 'InvoiceLineItems', 'InvoiceLineItem'],
      [card, 'PaymentMethods', 'PaymentMethod'],
      [await stripe.setupIntents.create({ customer: customer.id, payment_method: card.id, confirm: true }), 'SetupIntents', 'SetupIntent'],
      [here.clock, 'TestHelpers/TestClocks', 'TestClock'],
      [endpoint, 'WebhookEndpoints', 'WebhookEndpoint'],
      [configuration, 'BillingPortal/Configurations', 'Configuration'],
      [await stripe.billingPortal.sessions.create({ customer: customer.id }), 'BillingPortal/Sessions', 'Session'],
    ];
    assert.deepEqual(shapes.flatMap((shape) => wrong(...shape)), []);
    for (const event of await eventsOf(here)) {
      assert.deepEqual(Object.keys(event).sort(), ['api_version', 'created', 'data', 'id', 'livemode', 'object', 'pending_webhooks', 'request', 'type']);
    }
  });

  it('take parameters that Stripe has', () => {
    const known = {
      'POST /v1/customers': ['Customers', 'CustomerCreateParams'],
      'POST /v1/customers/:id': ['Customers', 'CustomerUpdateParams'],
      'GET /v1/customers': ['Customers', 'CustomerListParams'],
      'POST /v1/products': ['Products', 'ProductCreateParams'],
      'POST /v1/products/:id': ['Products', 'ProductUpdateParams'],
      'POST /v1/prices': ['Prices', 'PriceCreateParams'],
      'POST /v1/prices/:id': ['Prices', 'PriceUpdateParams'],
      'GET /v1/prices': ['Prices', 'PriceListParams'],
      'POST /v1/checkout/sessions': ['Checkout/Sessions', 'SessionCreateParams'],
      'GET /v1/checkout/sessions': ['Checkout/Sessions', 'SessionListParams'],
      'POST /v1/subscriptions': ['Subscriptions', 'SubscriptionCreateParams'],
      'POST /v1/subscriptions/:id': ['Subscriptions', 'SubscriptionUpdateParams'],
      'GET /v1/subscriptions': ['Subscriptions', 'SubscriptionListParams'],
      'DELETE /v1/subscriptions/:id': ['Subscriptions', 'SubscriptionCancelParams'],
      'POST /v1/subscriptions/:id/resume': ['Subscriptions', 'SubscriptionResumeParams'],
      'POST /v1/invoices/create_preview': ['Invoices', 'InvoiceCreatePreviewParams'],
      'POST /v1/invoices/:id/pay': ['Invoices', 'InvoicePayParams'],
      'GET /v1/invoices': ['Invoices', 'InvoiceListParams'],
      'POST /v1/payment_intents': ['PaymentIntents', 'PaymentIntentCreateParams'],
      'POST /v1/setup_intents': ['SetupIntents', 'SetupIntentCreateParams'],
      'POST /v1/refunds': ['Refunds', 'RefundCreateParams'],
      'GET /v1/charges': ['Charges', 'ChargeListParams'],
      'GET /v1/events': ['Events', 'EventListParams'],
      'POST /v1/webhook_endpoints': ['WebhookEndpoints', 'WebhookEndpointCreateParams'],
      'POST /v1/billing_portal/sessions': ['BillingPortal/Sessions', 'SessionCreateParams'],
      'POST /v1/billing_portal/configurations': ['BillingPortal/Configurations', 'ConfigurationCreateParams'],
    };
    const specs = new Map(ROUTES.map(([head, spec]) => [head, spec]));
    const paging = ['limit', 'starting_after', 'ending_before']; // inherited in the types
    const strange = Object.entries(known).flatMap(([head, [file, name]]) => {
      const fields = fieldsOf(file, name);
      return Object.keys(specs.get(head)).flatMap((key) => (fields.has(key) || paging.includes(key) ? [] : [`${head} ${key}`]));
    });
    assert.deepEqual(strange, []);
  });
});
