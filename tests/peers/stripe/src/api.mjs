// One call of /v1: who asks, has it been asked before, what is to go wrong, what is the answer.

import { createHash } from 'node:crypto';


import { render } from './render.mjs';
import { ROUTES } from './resources/index.mjs';
import { token } from './store.mjs';
import { API_VERSION } from './version.mjs';
import { StripeError, invalid, otherParameters, stillRunning } from './wire/errors.mjs';
import { decode } from './wire/form.mjs';
import { id, list, read } from './wire/params.mjs';

const MAX_KEY = 255;
const expandable = list(id, 20);

/** `POST /v1/customers/:id` as something that matches a path. */
function compile([head, spec, handler]) {
  const [method, pattern] = head.split(' ');
  const names = [];
  const source = pattern.replace(/:(\w+)/g, (_, name) => {
    names.push(name);
    return '([^/]+)';
  });
  return { method, names, regex: new RegExp(`^${source}$`), fixed: names.length === 0, spec, handler };
}

// Fixed paths first: `/v1/invoices/create_preview` is no invoice.
const TABLE = ROUTES.map(compile).sort((a, b) => Number(b.fixed) - Number(a.fixed));

function find(method, path) {
  for (const route of TABLE) {
    const found = route.method === method && route.regex.exec(path);
    if (found) return { route, ids: Object.fromEntries(route.names.map((name, index) => [name, decodeURIComponent(found[index + 1])])) };
  }
  throw new StripeError(404, 'invalid_request_error', `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.`);
}

function execute(account, { method, path, query, body }) {
  const { route, ids } = find(method, path);
  const given = method === 'GET' ? decode(query) : { ...decode(query), ...decode(body) };
  const { expand, ...rest } = given;
  const paths = expand === undefined ? [] : expandable(expand, 'expand');
  const result = route.handler(account, read(rest, route.spec), ids);
  return render(account, result, paths);
}

/** What is to happen to calls: the n-th of a method and path, with a text in what it sends, fails, waits, or its answer is lost. */
export class Faults {
  #orders = [];

  add({ method, path, holding, nth = 1, times = 1, status, error, latencyMs = 0, lose }) {
    this.#orders.push({ method, path, holding, skip: nth - 1, times, status, error, latencyMs, lose });
  }

  clear() {
    this.#orders = [];
  }

  take({ method, path, body }) {
    for (const order of this.#orders) {
      if ((order.method && order.method !== method) || (order.path && !path.startsWith(order.path))) continue;
      if (order.holding && !body?.includes(order.holding)) continue;
      if (order.skip > 0) {
        order.skip -= 1;
        continue;
      }
      order.times -= 1;
      this.#orders = this.#orders.filter(({ times }) => times > 0);
      return order;
    }
    return undefined;
  }
}

const digest = ({ method, path, query, body }) => createHash('sha256').update(JSON.stringify([method, path, query, body])).digest('hex');

/** Stripe keeps answers of calls that began to be carried out, not those whose parameters it refused. */
const isKept = (status) => ![400, 401, 404, 409, 429].includes(status);

/** First answers by Idempotency-Key. */
class Answers {
  #known = new Map();

  begin(key, call) {
    const known = this.#known.get(key);
    const hash = digest(call);
    if (!known) {
      this.#known.set(key, { hash });
      return undefined;
    }
    if (known.hash !== hash) throw otherParameters(key);
    if (!known.answer) throw stillRunning(key);
    return known.answer;
  }

  end(key, answer) {
    if (isKept(answer.status)) this.#known.get(key).answer = answer;
    else this.#known.delete(key);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const failure = (error, requestId) => {
  if (error instanceof StripeError) {
    return { status: error.status, body: { error: { ...error.error, request_log_url: `https://dashboard.stripe.com/test/logs/${requestId}` } } };
  }
  console.error('stripe peer:', error);
  return { status: 500, body: { error: { message: 'An error occurred with our connection to the peer; see its log.', type: 'api_error' } } };
};

export class Api {
  #answers = new Answers();

  faults = new Faults();

  /** Every call that came: for tests that look whether a key was used again. */
  log = [];

  constructor(account) {
    this.account = account;
  }

  /** The answer to a call: status, headers and text; or `{lost: true}` when the client is to see a broken connection. */
  async call(call) {
    const requestId = `req_${token(14)}`;
    const entry = { id: requestId, method: call.method, path: call.path, query: call.query, body: call.body, idempotencyKey: call.key ?? null, replayed: false };
    this.log.push(entry);
    const fault = this.faults.take(call);
    if (fault?.lose === 'before') return { ...this.#note(entry, { status: 0 }), lost: true };
    const answer = await this.#once(call, requestId, entry, fault);
    if (fault?.lose === 'after') return { ...this.#note(entry, answer), lost: true };
    return this.#note(entry, answer);
  }

  #note(entry, answer) {
    entry.status = answer.status;
    return answer;
  }

  async #once(call, requestId, entry, fault) {
    const headers = { 'request-id': requestId, 'stripe-version': API_VERSION };
    // Keys make sense where something is changed; Stripe ignores them elsewhere.
    const key = call.method === 'POST' ? call.key : undefined;
    if (key !== undefined) headers['idempotency-key'] = key;
    const done = ({ status, body }) => ({ status, headers, text: JSON.stringify(body, null, 2) });
    try {
      if (call.key?.length > MAX_KEY) throw invalid(`Idempotency-Key is too long: at most ${MAX_KEY} characters`);
      const first = key === undefined ? undefined : this.#answers.begin(key, call);
      if (first) {
        entry.replayed = true;
        return { ...first, headers: { ...headers, 'idempotent-replayed': 'true', 'original-request': first.headers['request-id'] } };
      }
    } catch (error) {
      return done(failure(error, requestId));
    }
    const answer = done(await this.#perform(call, requestId, fault));
    if (key !== undefined) {
      headers['original-request'] = requestId;
      this.#answers.end(key, answer);
    }
    return answer;
  }

  async #perform(call, requestId, fault) {
    if (fault?.latencyMs) await pause(fault.latencyMs);
    try {
      if (fault?.status) throw new StripeError(fault.status, fault.error?.type ?? 'api_error', fault.error?.message ?? 'As ordered.', fault.error ?? {});
      this.account.catchUp();
      this.account.request = { id: requestId, idempotencyKey: call.key ?? null };
      return { status: 200, body: execute(this.account, call) };
    } catch (error) {
      return failure(error, requestId);
    } finally {
      this.account.request = undefined;
    }
  }
}
