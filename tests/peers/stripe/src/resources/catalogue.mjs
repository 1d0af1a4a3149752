// Products and prices: https://docs.stripe.com/api/products, https://docs.stripe.com/api/prices

import { newId } from '../store.mjs';
import { invalid } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, clearable, decimal, id, inRange, int, list, mergeMetadata, metadata, object, oneOf, required, text } from '../wire/params.mjs';
import { CURRENCY } from './common.mjs';

const PRODUCT = {
  active: bool,
  description: clearable(text(40_000)),
  images: list(text(2048), 8),
  marketing_features: list(object({ name: required(text(80)) }), 15),
  metadata,
  shippable: bool,
  statement_descriptor: text(22),
  tax_code: clearable(text(40)),
  unit_label: clearable(text(12)),
  url: clearable(text(2048)),
};

function makeProduct(account, asked) {
  if (asked.id && account.store.find('product', asked.id)) throw invalid(`Product already exists.`, { code: 'resource_already_exists' });
  const at = account.clock.now;
  const product = account.store.add({
    id: asked.id ?? newId('product'),
    object: 'product',
    active: asked.active ?? true,
    created: at,
    default_price: null,
    description: asked.description ?? null,
    images: asked.images ?? [],
    livemode: false,
    marketing_features: asked.marketing_features ?? [],
    metadata: asked.metadata ?? {},
    name: asked.name,
    package_dimensions: null,
    shippable: asked.shippable ?? null,
    statement_descriptor: asked.statement_descriptor ?? null,
    tax_code: asked.tax_code ?? null,
    tax_details: null,
    type: 'service',
    unit_label: asked.unit_label ?? null,
    updated: at,
    url: asked.url ?? null,
  });
  account.emit('product.created', product);
  if (asked.default_price_data) {
    const price = makePrice(account, { ...asked.default_price_data, product: product.id });
    account.change(product, 'product.updated', () => {
      product.default_price = price.id;
    });
  }
  return product;
}

function changeProduct(account, product, { metadata: marks, default_price: price, ...plain }) {
  if (price) account.store.get('price', price, 'default_price');
  return account.change(product, 'product.updated', () => {
    Object.assign(product, plain, price && { default_price: price });
    product.metadata = mergeMetadata(product.metadata, marks);
    product.updated = account.clock.now;
  });
}

function removeProduct(account, product) {
  if (account.store.all('price').some((price) => price.product === product.id)) {
    throw invalid('This product cannot be deleted because it has one or more user-created prices.');
  }
  account.store.remove('product', product.id);
  account.emit('product.deleted', product);
  return { id: product.id, object: 'product', deleted: true };
}

/** A lookup key belongs to one active price; another may take it over when asked to. */
function claimLookupKey(account, key, transfer, keeper) {
  const holder = account.store.all('price').find((price) => price.lookup_key === key && price !== keeper);
  if (!holder) return;
  if (!transfer) {
    throw invalid(`A price (\`${holder.id}\`) already uses that lookup key. To transfer it, set \`transfer_lookup_key=true\`.`, { param: 'lookup_key' });
  }
  account.change(holder, 'price.updated', () => {
    holder.lookup_key = null;
  });
}

function recurringOf({ interval, interval_count: count = 1, usage_type: usage = 'licensed' }) {
  return { interval, interval_count: count, meter: null, trial_period_days: null, usage_type: usage };
}

function amountOf({ unit_amount: amount, unit_amount_decimal: text_ }) {
  if (amount !== undefined && text_ !== undefined) throw invalid('You may only specify one of these parameters: unit_amount, unit_amount_decimal.');
  if (amount === undefined && text_ === undefined) throw invalid('Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.', { code: 'parameter_missing', param: 'unit_amount' });
  const cents = amount ?? Number(text_);
  return { unit_amount: Number.isInteger(cents) ? cents : null, unit_amount_decimal: text_ ?? String(amount) };
}

export function makePrice(account, asked) {
  if (Boolean(asked.product) === Boolean(asked.product_data)) {
    throw invalid('You must specify either `product` or `product_data` when creating a price.', { code: 'parameter_missing', param: 'product' });
  }
  const amount = amountOf(asked);
  if (asked.product) account.store.get('product', asked.product, 'product');
  if (asked.lookup_key) claimLookupKey(account, asked.lookup_key, asked.transfer_lookup_key);
  const product = asked.product ?? makeProduct(account, asked.product_data).id;
  const price = account.store.add({
    object: 'price',
    active: asked.active ?? true,
    billing_scheme: 'per_unit',
    created: account.clock.now,
    currency: asked.currency,
    custom_unit_amount: null,
    livemode: false,
    lookup_key: asked.lookup_key ?? null,
    metadata: asked.metadata ?? {},
    nickname: asked.nickname ?? null,
    product,
    recurring: asked.recurring ? recurringOf(asked.recurring) : null,
    tax_behavior: asked.tax_behavior ?? 'unspecified',
    tiers_mode: null,
    transform_quantity: null,
    type: asked.recurring ? 'recurring' : 'one_time',
    ...amount,
  });
  account.emit('price.created', price);
  return price;
}

function changePrice(account, price, { metadata: marks, lookup_key: key, transfer_lookup_key: transfer, ...plain }) {
  if (key) claimLookupKey(account, key, transfer, price);
  return account.change(price, 'price.updated', () => {
    Object.assign(price, plain, key !== undefined && { lookup_key: key });
    price.metadata = mergeMetadata(price.metadata, marks);
  });
}

const RECURRING = object({
  interval: required(oneOf('day', 'week', 'month', 'year')),
  interval_count: int({ min: 1, max: 36 }),
  usage_type: oneOf('licensed'),
});
const TAX_BEHAVIOR = oneOf('exclusive', 'inclusive', 'unspecified');
const AMOUNT = { currency: required(CURRENCY), unit_amount: int({ min: 0 }), unit_amount_decimal: decimal, recurring: RECURRING, tax_behavior: TAX_BEHAVIOR };

export const PRICE_DATA = object({ ...AMOUNT, product: id, product_data: object({ name: required(text(250)), description: text(), metadata, tax_code: text(40) }) });

const one = (kind) => (account, _, { id: key }) => account.store.get(kind, key);

export const routes = [
  ['POST /v1/products', { ...PRODUCT, id, name: required(text(250)), default_price_data: object({ ...AMOUNT, metadata }) }, makeProduct],
  [
    'GET /v1/products',
    { ...PAGE, active: bool, ids: list(id), created: RANGE },
    (account, { active, ids, created, ...paging }) =>
      account.store.page('product', paging, '/v1/products', (product) =>
        (active === undefined || product.active === active) && (!ids || ids.includes(product.id)) && inRange(created, product.created)),
  ],
  ['GET /v1/products/:id', {}, one('product')],
  [
    'POST /v1/products/:id',
    { ...PRODUCT, name: text(250), default_price: id },
    (account, asked, { id: key }) => changeProduct(account, account.store.get('product', key), asked),
  ],
  ['DELETE /v1/products/:id', {}, (account, _, { id: key }) => removeProduct(account, account.store.get('product', key))],
  [
    'POST /v1/prices',
    {
      ...AMOUNT,
      active: bool,
      billing_scheme: oneOf('per_unit'),
      lookup_key: text(200),
      metadata,
      nickname: text(),
      product: id,
      product_data: object({ id, name: required(text(250)), active: bool, metadata, statement_descriptor: text(22), tax_code: text(40), unit_label: text(12) }),
      transfer_lookup_key: bool,
    },
    makePrice,
  ],
  [
    'GET /v1/prices',
    {
      ...PAGE,
      active: bool,
      created: RANGE,
      currency: CURRENCY,
      lookup_keys: list(text(200), 10),
      product: id,
      recurring: object({ interval: oneOf('day', 'week', 'month', 'year') }),
      type: oneOf('one_time', 'recurring'),
    },
    (account, { active, created, currency, lookup_keys: keys, product, recurring, type, ...paging }) =>
      account.store.page('price', paging, '/v1/prices', (price) =>
        (active === undefined || price.active === active) &&
        (currency === undefined || price.currency === currency) &&
        (!keys || keys.includes(price.lookup_key)) &&
        (product === undefined || price.product === product) &&
        (!recurring?.interval || price.recurring?.interval === recurring.interval) &&
        (type === undefined || price.type === type) &&
        inRange(created, price.created)),
  ],
  ['GET /v1/prices/:id', {}, one('price')],
  [
    'POST /v1/prices/:id',
    { active: bool, lookup_key: clearable(text(200)), metadata, nickname: clearable(text()), tax_behavior: TAX_BEHAVIOR, transfer_lookup_key: bool },
    (account, asked, { id: key }) => changePrice(account, account.store.get('price', key), asked),
  ],
];
