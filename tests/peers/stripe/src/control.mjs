// What a test or a person does to the peer itself, outside /v1. README.md lists it.

import { complete } from './billing/checkout.mjs';
import { personOf } from './pages/checkout.mjs';
import { dispute } from './payments/intents.mjs';
import { render } from './render.mjs';
import { invalid } from './wire/errors.mjs';

const int = (value, name) => {
  if (!Number.isSafeInteger(value)) throw invalid(`${name} is no whole number`, { param: name });
  return value;
};

/** Moves the account's own clock; test clocks are moved by the API. */
function setTime({ account }, { now, advance, freeze }) {
  const target = now !== undefined ? int(now, 'now') : account.clock.now + int(advance ?? 0, 'advance');
  if (target < account.clock.now) throw invalid('Time does not go back.', { param: 'now' });
  account.clock.advance(target, account.perform, { freeze: freeze ?? account.clock.frozen });
  return { now: account.clock.now, frozen: account.clock.frozen };
}

function settings({ account }, change) {
  const unknown = Object.keys(change).filter((key) => !['country', 'name', 'draftSeconds', 'retryDays', 'afterRetries', 'taxPercent'].includes(key));
  if (unknown.length > 0) throw invalid(`no such setting: ${unknown.join(', ')}`);
  return Object.assign(account.settings, change);
}

const webhooks = ({ account: { webhooks: hooks } }) => ({ orders: hooks.orders, held: hooks.held, underWay: hooks.underWay, attempts: hooks.attempts });

/** `[method and path, handler({account, api, forget}, JSON of the body, ids)]` */
export const CONTROL = {
  'GET /_peer/account': ({ account }) => ({ account: account.name, now: account.clock.now, frozen: account.clock.frozen, settings: account.settings }),
  'POST /_peer/time': setTime,
  'POST /_peer/settings': settings,
  'POST /_peer/reset': ({ forget }) => forget(),
  'POST /_peer/revoke': ({ account }) => {
    account.revoked = true;
    return { revoked: true };
  },
  'GET /_peer/requests': ({ api }) => api.log,
  'DELETE /_peer/requests': ({ api }) => {
    api.log.length = 0;
    return {};
  },
  'POST /_peer/faults': ({ api }, order) => {
    for (const fault of Array.isArray(order) ? order : [order]) api.faults.add(fault);
    return {};
  },
  'DELETE /_peer/faults': ({ api }) => {
    api.faults.clear();
    return {};
  },
  'GET /_peer/webhooks': webhooks,
  'POST /_peer/webhooks': ({ account }, orders) => account.webhooks.order(orders),
  'POST /_peer/webhooks/release': ({ account }, order) => ({ released: account.webhooks.release(order) }),
  'POST /_peer/webhooks/take': ({ account }, order) => account.webhooks.take(order),
  'POST /_peer/webhooks/resend': ({ account }, { event }) => ({ sent: account.webhooks.resend(event) }),
  /** Answers when nothing is on its way any more. */
  'POST /_peer/webhooks/settle': async ({ account }) => {
    await account.webhooks.settled();
    return webhooks({ account });
  },
  'POST /_peer/webhook_endpoints/:id/secrets': ({ account }, { secrets }, { id }) => {
    account.store.get('webhook_endpoint', id).$.secrets = secrets;
    return {};
  },
  /** The payer's bank takes a charge back: `{status: 'needs_response', 'won' or 'lost', amount}`. */
  'POST /_peer/dispute/:id': ({ account }, order, { id }) => render(account, dispute(account, account.store.get('charge', id), order)),
  /** A person pays at the page of a session: `{card, email, name, country}`. */
  'POST /_peer/checkout/:id': ({ account }, person, { id }) => render(account, complete(account, account.store.get('checkout.session', id), personOf({ card: '4242424242424242', ...person }))),
};
