// https://docs.stripe.com/api/customers

import { end } from '../billing/state.mjs';
import { forCustomer } from '../payments/methods.mjs';
import { livingCustomer } from '../render.mjs';
import { token } from '../store.mjs';
import { noSuch } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, clearable, id, inRange, int, list, mergeMetadata, metadata, object, oneOf, text } from '../wire/params.mjs';
import { ADDRESS, NO_ADDRESS } from './common.mjs';

const FIELDS = {
  address: clearable(ADDRESS),
  balance: int(),
  business_name: clearable(text(150)),
  description: clearable(text()),
  email: clearable(text(512)),
  individual_name: clearable(text(150)),
  invoice_settings: object({ default_payment_method: clearable(id), footer: clearable(text()) }),
  metadata,
  name: clearable(text(256)),
  phone: clearable(text(20)),
  preferred_locales: list(text(10)),
  tax: object({ ip_address: clearable(text()), validate_location: oneOf('deferred', 'immediately', 'auto') }),
  tax_exempt: clearable(oneOf('none', 'exempt', 'reverse')),
};

function set(account, customer, asked) {
  const { address, invoice_settings: settings, metadata: marks, payment_method: method, tax: _, tax_exempt: exempt, ...plain } = asked;
  Object.assign(customer, plain);
  if (address !== undefined) customer.address = address && { ...NO_ADDRESS, ...address };
  if (exempt !== undefined) customer.tax_exempt = exempt ?? 'none';
  customer.metadata = mergeMetadata(customer.metadata, marks);
  if (method) forCustomer(account, method, customer, 'payment_method');
  if (settings) {
    const { default_payment_method: given } = settings;
    const chosen = given ? forCustomer(account, given, customer, 'invoice_settings[default_payment_method]').id : given;
    Object.assign(customer.invoice_settings, settings, given === undefined ? {} : { default_payment_method: chosen });
  }
}

export function makeCustomer(account, { test_clock: clockId, ...asked }) {
  if (clockId) account.store.get('test_helpers.test_clock', clockId, 'test_clock');
  const customer = account.store.add({
    object: 'customer',
    address: null,
    balance: 0,
    created: (account.testClocks.get(clockId) ?? account.clock).now,
    currency: null,
    customer_account: null,
    default_source: null,
    delinquent: false,
    description: null,
    discount: null,
    email: null,
    invoice_prefix: token(8).toUpperCase(),
    invoice_settings: { custom_fields: null, default_payment_method: null, footer: null, rendering_options: null },
    livemode: false,
    metadata: {},
    name: null,
    phone: null,
    preferred_locales: [],
    shipping: null,
    tax_exempt: 'none',
    test_clock: clockId ?? null,
  });
  try {
    set(account, customer, asked);
  } catch (error) {
    account.store.remove('customer', customer.id);
    throw error;
  }
  account.emit('customer.created', customer);
  return customer;
}

/** A deleted one stays to be found, and says so. */
function remove(account, customer) {
  for (const subscription of account.store.all('subscription')) {
    if (subscription.customer === customer.id && !['canceled', 'incomplete_expired'].includes(subscription.status)) end(account, subscription);
  }
  account.emit('customer.deleted', customer);
  for (const method of account.store.all('payment_method')) {
    if (method.customer === customer.id) Object.assign(method, { customer: null, $: { ...method.$, spent: true } });
  }
  for (const key of Object.keys(customer)) if (!['id', 'object', 'test_clock'].includes(key)) delete customer[key];
  delete customer.test_clock;
  return Object.assign(customer, { deleted: true });
}

function cards(account, paging, url, customer, type) {
  return account.store.page('payment_method', paging, url, (method) => method.customer === customer && (!type || method.type === type));
}

export const routes = [
  ['POST /v1/customers', { ...FIELDS, payment_method: id, test_clock: id }, (account, asked) => makeCustomer(account, asked)],
  [
    'GET /v1/customers',
    { ...PAGE, email: text(512), created: RANGE, test_clock: id },
    (account, { email, created, test_clock: clock, ...paging }) =>
      account.store.page('customer', paging, '/v1/customers', (customer) =>
        !customer.deleted && (email === undefined || customer.email === email) && inRange(created, customer.created) && (clock === undefined ? customer.test_clock === null : customer.test_clock === clock)),
  ],
  ['GET /v1/customers/:id', {}, (account, _, { id: customer }) => account.store.get('customer', customer)],
  [
    'POST /v1/customers/:id',
    { ...FIELDS, validate: bool },
    (account, asked, { id: customer }) => account.change(livingCustomer(account, customer), 'customer.updated', (found) => set(account, found, asked)),
  ],
  ['DELETE /v1/customers/:id', {}, (account, _, { id: customer }) => remove(account, livingCustomer(account, customer))],
  [
    'GET /v1/customers/:id/payment_methods',
    { ...PAGE, type: text(40) },
    (account, { type, ...paging }, { id: customer }) => cards(account, paging, `/v1/customers/${customer}/payment_methods`, livingCustomer(account, customer).id, type),
  ],
  [
    'GET /v1/customers/:id/payment_methods/:method',
    {},
    (account, _, { id: customer, method }) => {
      const found = account.store.get('payment_method', method);
      if (found.customer !== customer) throw noSuch('PaymentMethod', method);
      return found;
    },
  ],
];

export { cards };
