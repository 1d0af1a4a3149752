// One HTTP server: the API under /v1, the hosted pages, and under /_peer what is done to the peer itself.

import { once } from 'node:events';
import { createServer } from 'node:http';

import { Accounts } from './accounts.mjs';
import { CONTROL } from './control.mjs';
import * as checkoutPage from './pages/checkout.mjs';
import * as invoicePage from './pages/invoice.mjs';
import * as portalPage from './pages/portal.mjs';
import { StripeError, invalid } from './wire/errors.mjs';

const MAX_BODY_BYTES = 1024 * 1024;
const TICK_MS = 1000;
const KEEP_ALIVE_MS = 120_000;

async function read(req) {
  const parts = [];
  let size = 0;
  for await (const part of req) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new StripeError(413, 'invalid_request_error', 'The body is too large.');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

const send = (res, status, type, body, headers = {}) => res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', ...headers }).end(body);

const sendJson = (res, status, value) => send(res, status, 'application/json', JSON.stringify(value, null, 2));

const ORDERS = Object.entries(CONTROL).map(([head, handler]) => {
  const [method, pattern] = head.split(' ');
  return { method, regex: new RegExp(`^${pattern.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`), handler };
});

/** Hosted pages: where they are, which object they are of, what shows and what takes them. */
const PAGES = [
  { regex: /^\/c\/pay\/(?<name>\w+)\/(?<id>\w+)$/, kind: 'checkout.session', page: checkoutPage },
  { regex: /^\/p\/session\/(?<name>\w+)\/(?<id>\w+)$/, kind: 'billing_portal.session', page: portalPage },
  { regex: /^\/i\/(?<name>\w+)\/(?<id>\w+)$/, kind: 'invoice', page: invoicePage },
];
const PDF = /^\/i\/(?<name>\w+)\/(?<id>\w+)\/pdf$/;

class Peer {
  constructor(accounts) {
    this.accounts = accounts;
  }

  async handle(req, res) {
    try {
      const url = new URL(req.url, this.accounts.base);
      if (url.pathname.startsWith('/v1/')) await this.#api(req, res, url);
      else if (url.pathname.startsWith('/_peer/')) await this.#control(req, res, url);
      else await this.#page(req, res, url);
    } catch (error) {
      if (!(error instanceof StripeError)) console.error('stripe peer:', error);
      const body = { error: error.error ?? { type: 'api_error', message: String(error.message) } };
      if (!res.headersSent) sendJson(res, error.status ?? 500, body);
    }
  }

  async #api(req, res, url) {
    const { api } = this.accounts.ofRequest(req.headers.authorization);
    const call = {
      method: req.method,
      path: url.pathname,
      query: url.search.slice(1),
      body: await read(req),
      key: req.headers['idempotency-key'],
    };
    const { status, headers, text, lost } = await api.call(call);
    if (lost) res.destroy();
    else send(res, status, 'application/json', text, headers);
  }

  async #control(req, res, url) {
    for (const { method, regex, handler } of ORDERS) {
      const ids = method === req.method && regex.exec(url.pathname);
      if (!ids) continue;
      const opened = this.accounts.ofRequest(req.headers.authorization);
      const body = await read(req);
      let order;
      try {
        order = body ? JSON.parse(body) : {};
      } catch {
        throw invalid('The body is no JSON.');
      }
      const forget = () => this.accounts.forget(opened.account.name);
      sendJson(res, 200, await handler({ ...opened, forget }, order, ids.groups ?? {}));
      return;
    }
    throw new StripeError(404, 'invalid_request_error', `No such order: ${req.method} ${url.pathname}`);
  }

  async #page(req, res, url) {
    const pdf = PDF.exec(url.pathname);
    if (pdf) {
      const { object } = this.#hosted(pdf.groups, 'invoice');
      send(res, 200, 'application/pdf', invoicePage.pdf(object));
      return;
    }
    for (const { regex, kind, page } of PAGES) {
      const found = regex.exec(url.pathname);
      if (!found) continue;
      const { account, object } = this.#hosted(found.groups, kind);
      account.catchUp();
      const form = req.method === 'POST' ? Object.fromEntries(new URLSearchParams(await read(req))) : undefined;
      const { status, html = '', location } = form ? page.submit(account, object, form) : page.show(account, object);
      send(res, status, 'text/html; charset=utf-8', html, location && { location });
      return;
    }
    if (url.pathname === '/') send(res, 200, 'text/plain; charset=utf-8', 'The local Stripe. Its API is under /v1.\n');
    else throw new StripeError(404, 'invalid_request_error', 'Nothing is here.');
  }

  #hosted({ name, id }, kind) {
    const account = this.accounts.named(name)?.account;
    if (!account) throw new StripeError(404, 'invalid_request_error', 'Nothing is here.');
    return { account, object: account.store.get(kind, id) };
  }
}

/** Starts on 127.0.0.1 (port 0 takes a free one) and resolves when it listens. With `file`, accounts outlive the process. */
export async function startPeer({ port = 0, file } = {}) {
  const server = createServer();
  // Longer than any client keeps an idle connection: what is closed while a request is on its way looks like a fault.
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const base = `http://127.0.0.1:${server.address().port}`;
  const accounts = new Accounts(base, file);
  const peer = new Peer(accounts);
  server.on('request', (req, res) => peer.handle(req, res));
  const ticking = setInterval(() => accounts.tick(), TICK_MS).unref();
  return {
    base,
    accounts,
    save: () => accounts.save(),
    async close() {
      clearInterval(ticking);
      server.close();
      server.closeAllConnections();
    },
  };
}
