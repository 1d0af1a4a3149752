// Objects as they go over the wire: without what is ours alone, and with what the client wants to have expanded.

import { invalid, noSuch } from './wire/errors.mjs';
import { kindOf, wholeList } from './store.mjs';

/** Where an object keeps what Stripe does not show. */
export const HIDDEN = '$';

function planOf(price) {
  return {
    id: price.id,
    object: 'plan',
    active: price.active,
    amount: price.unit_amount,
    amount_decimal: price.unit_amount_decimal,
    billing_scheme: price.billing_scheme,
    created: price.created,
    currency: price.currency,
    interval: price.recurring.interval,
    interval_count: price.recurring.interval_count,
    livemode: false,
    metadata: { ...price.metadata },
    meter: null,
    nickname: price.nickname,
    product: price.product,
    tiers_mode: null,
    transform_usage: null,
    trial_period_days: null,
    usage_type: price.recurring.usage_type,
  };
}

/** An invoice shows the first of its lines; the rest are at `/v1/invoices/:id/lines`. */
const LINES_SHOWN = 10;

/** A copy of a stored object, with the parts that Stripe always includes. */
export function view(account, value) {
  if (Array.isArray(value)) return value.map((entry) => view(account, entry));
  if (value === null || typeof value !== 'object') return value;
  const copy = {};
  for (const key of Object.keys(value)) {
    if (key !== HIDDEN) copy[key] = view(account, value[key]);
  }
  // An event holds what has been rendered before: there the price is whole already.
  if (copy.object === 'subscription_item' && typeof copy.price === 'string') {
    const price = account.store.get('price', copy.price);
    copy.price = view(account, price);
    copy.plan = planOf(price);
  }
  if (copy.object === 'invoice' && copy.lines?.data.length > LINES_SHOWN) {
    copy.lines.data.length = LINES_SHOWN;
    copy.lines.has_more = true;
  }
  return copy;
}

const isList = (value) => value?.object === 'list';

/** What is only included when it is asked for. */
const INCLUDABLE = {
  customer: {
    subscriptions: (account, { id }) =>
      wholeList(
        account.store.all('subscription').filter((sub) => sub.customer === id && sub.status !== 'canceled').reverse(),
        `/v1/customers/${id}/subscriptions`,
      ),
    tax: (account, { address }) => ({
      automatic_tax: address?.country ? 'supported' : 'unrecognized_location',
      ip_address: null,
      location: address?.country ? { country: address.country, source: 'billing_address', state: address.state ?? null } : null,
      provider: 'stripe',
    }),
    sources: (account, { id }) => wholeList([], `/v1/customers/${id}/sources`),
    tax_ids: (account, { id }) => wholeList([], `/v1/customers/${id}/tax_ids`),
  },
  invoice: {
    payments: (account, { id }) =>
      wholeList(account.store.all('invoice_payment').filter((payment) => payment.invoice === id), `/v1/invoices/${id}/payments`),
    confirmation_secret: (account, { id }) => {
      const payment = account.store.all('invoice_payment').find((entry) => entry.invoice === id);
      const intent = payment && account.store.find('payment_intent', payment.payment.payment_intent);
      return intent ? { client_secret: intent.client_secret, type: 'payment_intent' } : null;
    },
  },
  charge: {
    refunds: (account, { id }) => wholeList(account.store.all('refund').filter((refund) => refund.charge === id).reverse(), `/v1/charges/${id}/refunds`),
  },
  'checkout.session': {
    line_items: (account, { id }) => wholeList(account.store.get('checkout.session', id)[HIDDEN].lineItems, `/v1/checkout/sessions/${id}/line_items`),
  },
};

function expandOne(account, object, [segment, ...rest], path) {
  if (segment === '*') throw invalid(`This property cannot be expanded (${path}).`, { param: 'expand' });
  let value = object[segment];
  if (value === undefined) {
    const include = INCLUDABLE[object.object]?.[segment];
    if (!include) throw invalid(`This property cannot be expanded (${segment}). You may want to try expanding 'data.${segment}' instead.`, { param: 'expand' });
    value = view(account, include(account, object));
    object[segment] = value;
  }
  if (typeof value === 'string') {
    const kind = kindOf(value);
    if (!kind) throw invalid(`This property cannot be expanded (${path}).`, { param: 'expand' });
    const found = account.store.find(kind, value);
    if (found) object[segment] = view(account, found);
    value = object[segment];
  }
  if (rest.length === 0 || value === null || typeof value === 'string') return;
  if (Array.isArray(value)) value.forEach((entry) => expandOne(account, entry, rest, path));
  else expandOne(account, value, rest, path);
}

/** What is sent for a stored object, or a list of them. */
export function render(account, value, expand = []) {
  const rendered = view(account, value);
  for (const path of expand) {
    const segments = path.split('.');
    if (segments.length > 6) throw invalid(`You cannot expand more than 4 levels of a property (${path}).`, { param: 'expand' });
    if (isList(rendered) && segments[0] !== 'data') throw invalid(`This property cannot be expanded (${path}). You may want to try expanding 'data.${path}' instead.`, { param: 'expand' });
    expandOne(account, rendered, segments, path);
  }
  return rendered;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** `previous_attributes`: what the changed fields were before; nothing when nothing has changed. */
export function changed(before, after) {
  const previous = {};
  for (const key of Object.keys({ ...before, ...after })) {
    if (same(before[key], after[key])) continue;
    const maps = [before[key], after[key]].every((value) => value && typeof value === 'object' && !Array.isArray(value) && !isList(value));
    previous[key] = maps ? changed(before[key], after[key]) : (before[key] ?? null);
  }
  return Object.keys(previous).length > 0 ? previous : undefined;
}

/** The customer with an id, who has not been deleted. */
export function livingCustomer(account, id, param) {
  const customer = account.store.get('customer', id, param);
  if (customer.deleted) throw noSuch('customer', id, param);
  return customer;
}
