// Objects by kind, newest last, and pages of them as Stripe gives them.

import { randomBytes } from 'node:crypto';

import { invalid, noSuch } from './wire/errors.mjs';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Kind of object -> prefix of its ids, and how it is called in messages. */
const KINDS = {
  customer: ['cus', 'customer'],
  product: ['prod', 'product'],
  price: ['price', 'price'],
  payment_method: ['pm', 'PaymentMethod'],
  payment_intent: ['pi', 'payment_intent'],
  setup_intent: ['seti', 'setupintent'],
  charge: ['ch', 'charge'],
  refund: ['re', 'refund'],
  dispute: ['du', 'dispute'],
  subscription: ['sub', 'subscription'],
  subscription_item: ['si', 'subscription_item'],
  invoice: ['in', 'invoice'],
  line_item: ['il', 'invoice line item'],
  invoiceitem: ['ii', 'invoiceitem'],
  invoice_payment: ['inpay', 'invoice_payment'],
  'checkout.session': ['cs_test', 'checkout.session'],
  'billing_portal.session': ['bps', 'billing_portal.session'],
  'billing_portal.configuration': ['bpc', 'configuration'],
  'test_helpers.test_clock': ['clock', 'test clock'],
  event: ['evt', 'event'],
  webhook_endpoint: ['we', 'webhook endpoint'],
};

const KIND_OF_PREFIX = new Map(Object.entries(KINDS).map(([kind, [prefix]]) => [prefix, kind]));

let pool = Buffer.alloc(0);

/** Random letters. Randomness comes by the page: to ask the system for each id would be most of the work of making one. */
export function token(length = 24) {
  if (pool.length < length) pool = randomBytes(4096);
  let text = '';
  for (const byte of pool.subarray(0, length)) text += ALPHABET[byte % ALPHABET.length];
  pool = pool.subarray(length);
  return text;
}

export const newId = (kind) => `${KINDS[kind][0]}_${kind === 'customer' ? token(14) : token()}`;

/** The kind of object that an id is of, by its prefix. */
export const kindOf = (id) => KIND_OF_PREFIX.get(String(id).slice(0, String(id).lastIndexOf('_')));

export class Store {
  #kinds = new Map(Object.keys(KINDS).map((kind) => [kind, new Map()]));

  /** Keeps an object, under its own id or a new one of its kind. */
  add(object) {
    object.id ??= newId(object.object);
    this.#kinds.get(object.object).set(object.id, object);
    return object;
  }

  find(kind, id) {
    return this.#kinds.get(kind).get(id);
  }

  /** As `find`, or the refusal that Stripe gives. `param` names the parameter the id came in. */
  get(kind, id, param) {
    const found = this.find(kind, id);
    if (!found) throw noSuch(KINDS[kind][1], id, param);
    return found;
  }

  remove(kind, id) {
    this.#kinds.get(kind).delete(id);
  }

  /** In the order in which they were made. */
  all(kind) {
    return [...this.#kinds.get(kind).values()];
  }

  /** A page, newest first, of those that match. */
  page(kind, paging, url, matches = () => true) {
    return page(this.all(kind).reverse().filter(matches), paging, url);
  }

  toJSON() {
    return Object.fromEntries([...this.#kinds].map(([kind, objects]) => [kind, [...objects.values()]]));
  }

  static fromJSON(kinds) {
    const store = new Store();
    for (const objects of Object.values(kinds)) objects.forEach((object) => store.add(object));
    return store;
  }
}

function cursor(entries, id, param) {
  const at = entries.findIndex((entry) => entry.id === id);
  if (at < 0) throw invalid(`No such object: '${id}'`, { code: 'resource_missing', param });
  return at;
}

export function page(entries, { limit = 10, starting_after: after, ending_before: upTo } = {}, url = '') {
  if (after && upTo) throw invalid('You may only provide one of these parameters: starting_after, ending_before.');
  let found;
  let more;
  if (upTo) {
    const end = cursor(entries, upTo, 'ending_before');
    const start = Math.max(0, end - limit);
    [found, more] = [entries.slice(start, end), start > 0];
  } else {
    const start = after ? cursor(entries, after, 'starting_after') + 1 : 0;
    [found, more] = [entries.slice(start, start + limit), start + limit < entries.length];
  }
  return { object: 'list', data: found, has_more: more, url };
}

export const wholeList = (data, url) => ({ object: 'list', data, has_more: false, total_count: data.length, url });
