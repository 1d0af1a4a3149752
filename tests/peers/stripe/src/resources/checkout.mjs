// https://docs.stripe.com/api/checkout/sessions

import { expireSession } from '../billing/checkout.mjs';
import { livingCustomer } from '../render.mjs';
import { page } from '../store.mjs';
import { invalid, missingParameter } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, id, inRange, int, list, mergeMetadata, metadata, object, oneOf, required, text, time } from '../wire/params.mjs';
import { AUTOMATIC_TAX, BILLING_MODE, CURRENCY, PRORATION, TRIAL_SETTINGS } from './common.mjs';
import { PRICE_DATA, makePrice } from './catalogue.mjs';

const HALF_HOUR = 1800;
const DAY = 86_400;
const MAX_URL = 5000;

const CREATE = {
  allow_promotion_codes: bool,
  automatic_tax: AUTOMATIC_TAX,
  billing_address_collection: oneOf('auto', 'required'),
  cancel_url: text(MAX_URL),
  client_reference_id: text(200),
  currency: CURRENCY,
  customer: id,
  customer_creation: oneOf('always', 'if_required'),
  customer_email: text(800),
  customer_update: object({ address: oneOf('auto', 'never'), name: oneOf('auto', 'never'), shipping: oneOf('auto', 'never') }),
  expires_at: time,
  invoice_creation: object({ enabled: required(bool) }),
  line_items: list(object({ price: id, price_data: PRICE_DATA, quantity: int({ min: 1 }) })),
  locale: text(10),
  metadata,
  mode: required(oneOf('payment', 'setup', 'subscription')),
  payment_intent_data: object({ description: text(1000), metadata, setup_future_usage: oneOf('off_session', 'on_session') }),
  payment_method_collection: oneOf('always', 'if_required'),
  saved_payment_method_options: object({ payment_method_save: oneOf('enabled', 'disabled') }),
  submit_type: oneOf('auto', 'book', 'donate', 'pay', 'subscribe'),
  subscription_data: object({
    billing_cycle_anchor: time,
    billing_mode: BILLING_MODE,
    description: text(500),
    metadata,
    proration_behavior: PRORATION,
    trial_end: time,
    trial_period_days: int({ min: 1, max: 730 }),
    trial_settings: TRIAL_SETTINGS,
  }),
  success_url: text(MAX_URL),
  tax_id_collection: object({ enabled: required(bool), required: oneOf('if_supported', 'never') }),
  ui_mode: oneOf('hosted_page'),
};

function requireTogether(asked) {
  if (!asked.success_url) throw missingParameter('success_url');
  if (asked.mode !== 'setup' && !asked.line_items?.length) throw missingParameter('line_items');
  if (asked.customer && asked.customer_email) throw invalid('You may only specify one of these parameters: customer, customer_email.');
  for (const [key, mode] of [['subscription_data', 'subscription'], ['payment_intent_data', 'payment'], ['invoice_creation', 'payment'], ['customer_creation', 'payment'], ['payment_method_collection', 'subscription']]) {
    if (asked[key] !== undefined && asked.mode !== mode) throw invalid(`You can not pass \`${key}\` in \`${asked.mode}\` mode.`, { param: key });
  }
  if (asked.automatic_tax?.enabled && asked.customer && !asked.customer_update?.address) {
    throw invalid('Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the Customer or set either `customer_update[address]` to \'auto\' or `customer_update[shipping]` to \'auto\' to save the address entered in Checkout to the Customer.', { code: 'customer_tax_location_invalid' });
  }
}

function lineItem(account, { price: key, price_data: data, quantity }, index, mode) {
  const param = `line_items[${index}][price]`;
  if (Boolean(key) === Boolean(data)) throw invalid(`You must specify either \`price\` or \`price_data\` for each line item.`, { param });
  if (quantity === undefined) throw missingParameter(`line_items[${index}][quantity]`);
  const price = key ? account.store.get('price', key, param) : makePrice(account, data);
  if (!price.active) throw invalid('The price specified is inactive. This field only accepts active prices.', { param });
  if (mode === 'payment' && price.type === 'recurring') throw invalid('You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.', { param });
  const amount = price.unit_amount * quantity;
  return {
    id: `li_${account.token().slice(0, 24)}`,
    object: 'item',
    adjustable_quantity: null,
    amount_discount: 0,
    amount_subtotal: amount,
    amount_tax: 0,
    amount_total: amount,
    currency: price.currency,
    description: account.store.get('product', price.product).name,
    metadata: {},
    price: { ...price },
    quantity,
  };
}

function subscriptionTrial(data, now) {
  if (!data) return;
  if (data.trial_end !== undefined && data.trial_period_days !== undefined) throw invalid('You may only specify one of these parameters: subscription_data[trial_end], subscription_data[trial_period_days].');
  // Checkout refuses what the Subscriptions API would take.
  if (data.trial_end !== undefined && data.trial_end < now + 2 * DAY) throw invalid('The `trial_end` date has to be at least 2 days in the future.', { param: 'subscription_data[trial_end]' });
}

function create(account, asked) {
  requireTogether(asked);
  const customer = asked.customer && livingCustomer(account, asked.customer, 'customer');
  const { now } = account.clockOf(customer ?? null);
  subscriptionTrial(asked.subscription_data, now);
  const expires = asked.expires_at ?? now + DAY;
  if (expires < now + HALF_HOUR || expires > now + DAY) throw invalid('The `expires_at` timestamp must be less than 24 hours from Checkout Session creation, and more than 30 minutes.', { param: 'expires_at' });
  const items = (asked.line_items ?? []).map((item, index) => lineItem(account, item, index, asked.mode));
  if (asked.mode === 'subscription' && !items.some(({ price }) => price.type === 'recurring')) throw invalid('You must provide at least one recurring price in `subscription` mode when using prices.', { param: 'line_items' });
  const trial = Boolean(asked.subscription_data?.trial_end ?? asked.subscription_data?.trial_period_days);
  const total = items.reduce((sum, item) => sum + (trial && item.price.type === 'recurring' ? 0 : item.amount_total), 0);
  const session = account.store.add({
    object: 'checkout.session',
    adaptive_pricing: { enabled: false },
    after_expiration: null,
    allowed_payment_method_types: null,
    allow_promotion_codes: asked.allow_promotion_codes ?? null,
    amount_subtotal: asked.mode === 'setup' ? null : total,
    amount_total: asked.mode === 'setup' ? null : total,
    automatic_tax: { enabled: asked.automatic_tax?.enabled ?? false, liability: asked.automatic_tax?.enabled ? { type: 'self' } : null, provider: asked.automatic_tax?.enabled ? 'stripe' : null, status: asked.automatic_tax?.enabled ? 'requires_location_inputs' : null },
    billing_address_collection: asked.billing_address_collection ?? null,
    branding_settings: null,
    cancel_url: asked.cancel_url ?? null,
    client_reference_id: asked.client_reference_id ?? null,
    client_secret: null,
    collected_information: null,
    consent: null,
    consent_collection: null,
    created: now,
    currency: items[0]?.currency ?? asked.currency ?? null,
    currency_conversion: null,
    custom_fields: [],
    custom_text: { after_submit: null, shipping_address: null, submit: null, terms_of_service_acceptance: null },
    customer: customer?.id ?? null,
    customer_account: null,
    customer_creation: asked.mode === 'payment' ? (customer ? null : (asked.customer_creation ?? 'if_required')) : customer ? null : 'always',
    customer_details: customer || asked.customer_email ? { address: null, business_name: null, email: asked.customer_email ?? customer.email, individual_name: null, name: null, phone: null, tax_exempt: 'none', tax_ids: null } : null,
    customer_email: asked.customer_email ?? null,
    discounts: [],
    expires_at: expires,
    integration_identifier: null,
    invoice: null,
    invoice_creation: asked.mode === 'payment' ? { enabled: asked.invoice_creation?.enabled ?? false, invoice_data: { account_tax_ids: null, custom_fields: null, description: null, footer: null, issuer: null, metadata: {}, rendering_options: null } } : null,
    livemode: false,
    locale: asked.locale ?? null,
    managed_payments: null,
    metadata: asked.metadata ?? {},
    mode: asked.mode,
    origin_context: null,
    payment_intent: null,
    payment_link: null,
    payment_method_collection: asked.payment_method_collection ?? (asked.mode === 'payment' ? 'if_required' : 'always'),
    payment_method_configuration_details: null,
    payment_method_options: { card: { request_three_d_secure: 'automatic' } },
    payment_method_types: ['card'],
    payment_status: asked.mode === 'setup' ? 'no_payment_required' : 'unpaid',
    permissions: null,
    phone_number_collection: { enabled: false },
    recovered_from: null,
    saved_payment_method_options: { allow_redisplay_filters: ['always'], payment_method_remove: 'disabled', payment_method_save: asked.saved_payment_method_options?.payment_method_save ?? null },
    setup_intent: null,
    shipping_address_collection: null,
    shipping_cost: null,
    shipping_options: [],
    status: 'open',
    submit_type: asked.submit_type ?? null,
    subscription: null,
    success_url: asked.success_url,
    total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
    ui_mode: 'hosted_page',
    url: null,
    wallet_options: null,
    $: {
      lineItems: items,
      subscriptionData: asked.subscription_data ?? {},
      intentData: asked.payment_intent_data ?? {},
      takesAddress: asked.customer_update?.address === 'auto' || !customer,
      trial,
    },
  });
  session.url = `${account.base}/c/pay/${account.name}/${session.id}`;
  account.schedule(session, session.expires_at);
  return session;
}

const found = (account, { id: key }) => account.store.get('checkout.session', key);

export const routes = [
  ['POST /v1/checkout/sessions', CREATE, create],
  [
    'GET /v1/checkout/sessions',
    { ...PAGE, created: RANGE, customer: id, payment_intent: id, subscription: id, status: oneOf('complete', 'expired', 'open') },
    (account, { created, customer, payment_intent: intent, subscription, status, ...paging }) =>
      account.store.page('checkout.session', paging, '/v1/checkout/sessions', (session) =>
        (customer === undefined || session.customer === customer) &&
        (intent === undefined || session.payment_intent === intent) &&
        (subscription === undefined || session.subscription === subscription) &&
        (status === undefined || session.status === status) &&
        inRange(created, session.created)),
  ],
  ['GET /v1/checkout/sessions/:id', {}, (account, _, ids) => found(account, ids)],
  [
    'POST /v1/checkout/sessions/:id',
    { metadata },
    (account, { metadata: marks }, ids) => Object.assign(found(account, ids), { metadata: mergeMetadata(found(account, ids).metadata, marks) }),
  ],
  ['GET /v1/checkout/sessions/:id/line_items', PAGE, (account, paging, ids) => page(found(account, ids).$.lineItems, paging, `/v1/checkout/sessions/${ids.id}/line_items`)],
  [
    'POST /v1/checkout/sessions/:id/expire',
    {},
    (account, _, ids) => {
      const session = found(account, ids);
      if (session.status !== 'open') throw invalid(`Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ${session.status}.`);
      return expireSession(account, session);
    },
  ],
];

