// https://docs.stripe.com/api/events, https://docs.stripe.com/api/webhook_endpoints

import { API_VERSION } from '../version.mjs';
import { token } from '../store.mjs';
import { invalid } from '../wire/errors.mjs';
import { PAGE, RANGE, bool, clearable, inRange, list, mergeMetadata, metadata, required, text } from '../wire/params.mjs';

const matches = (pattern, type) => pattern === '*' || pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1)));

function events(account, { created, type, types, delivery_success: delivered, ...paging }) {
  return account.store.page('event', paging, '/v1/events', (event) =>
    inRange(created, event.created) &&
    (type === undefined || matches(type, event.type)) &&
    (types === undefined || types.includes(event.type)) &&
    (delivered === undefined || (event.pending_webhooks === 0) === delivered));
}

function requireUrl(url) {
  if (!/^https?:\/\//.test(url)) throw invalid('Invalid URL: An explicit scheme (such as https) must be provided.', { code: 'url_invalid', param: 'url' });
}

/** The secret is told once. */
function create(account, asked) {
  requireUrl(asked.url);
  const secret = `whsec_${token(32)}`;
  const endpoint = account.store.add({
    object: 'webhook_endpoint',
    api_version: asked.api_version ?? null,
    application: null,
    created: account.clock.now,
    description: asked.description ?? null,
    enabled_events: asked.enabled_events,
    livemode: false,
    metadata: asked.metadata ?? {},
    status: 'enabled',
    url: asked.url,
    $: { secrets: [secret] },
  });
  return { ...endpoint, secret };
}

function change(account, endpoint, { metadata: marks, disabled, ...plain }) {
  if (plain.url) requireUrl(plain.url);
  Object.assign(endpoint, plain);
  if (disabled !== undefined) endpoint.status = disabled ? 'disabled' : 'enabled';
  endpoint.metadata = mergeMetadata(endpoint.metadata, marks);
  return endpoint;
}

const FIELDS = { description: clearable(text(5000)), enabled_events: list(text(80), 500), metadata, url: text(2048) };
const found = (account, { id: key }) => account.store.get('webhook_endpoint', key);
const ApiVersion = (value, param) => {
  if (value !== API_VERSION) throw invalid(`Invalid API version: ${value}; here it is ${API_VERSION}`, { param });
  return value;
};

export const routes = [
  ['GET /v1/events', { ...PAGE, created: RANGE, type: text(80), types: list(text(80), 20), delivery_success: bool }, events],
  ['GET /v1/events/:id', {}, (account, _, { id: key }) => account.store.get('event', key)],
  ['POST /v1/webhook_endpoints', { ...FIELDS, url: required(FIELDS.url), enabled_events: required(FIELDS.enabled_events), api_version: ApiVersion, connect: bool }, create],
  ['GET /v1/webhook_endpoints', PAGE, (account, paging) => account.store.page('webhook_endpoint', paging, '/v1/webhook_endpoints')],
  ['GET /v1/webhook_endpoints/:id', {}, (account, _, ids) => found(account, ids)],
  ['POST /v1/webhook_endpoints/:id', { ...FIELDS, disabled: bool }, (account, asked, ids) => change(account, found(account, ids), asked)],
  [
    'DELETE /v1/webhook_endpoints/:id',
    {},
    (account, _, ids) => {
      account.store.remove('webhook_endpoint', found(account, ids).id);
      return { id: ids.id, object: 'webhook_endpoint', deleted: true };
    },
  ],
];
