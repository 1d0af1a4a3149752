// One HTTP server: the site (sign-in, token endpoint) and, under /api/v3 as GitHub Enterprise has it, the REST API.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { People, isEmail } from './people.mjs';

const CODE_LIFE_MS = 10 * 60 * 1000;
const MAX_BODY_BYTES = 64 * 1024;
const API = '/api/v3';

const token = (prefix) => prefix + randomBytes(24).toString('base64url');
const same = (a, b) => {
  const [left, right] = [a, b].map((text) => createHash('sha256').update(String(text)).digest());
  return timingSafeEqual(left, right);
};

/** Starts on 127.0.0.1 (port 0 takes a free one) and resolves when it listens. */
export async function startPeer({ port = 0, redirectUris, clientId, clientSecret }) {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const site = `http://127.0.0.1:${server.address().port}`;
  const peer = new Peer({ site, redirectUris, clientId, clientSecret });
  server.on('request', (req, res) => peer.handle(req, res));
  return {
    site,
    async close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

class Refusal extends Error {
  constructor(status, body) {
    super(JSON.stringify(body));
    Object.assign(this, { status, body });
  }
}

const send = (res, status, type, body, headers = {}) =>
  res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', ...headers }).end(body);
const sendJson = (res, status, value) => send(res, status, 'application/json; charset=utf-8', JSON.stringify(value));
const redirect = (res, url) => send(res, 302, 'text/plain', '', { location: String(url) });

/** As GitHub does: an error of the token endpoint has status 200. */
const tokenError = (error, description) => new Refusal(200, { error, error_description: description });

async function form(req) {
  const parts = [];
  let size = 0;
  for await (const part of req) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new Refusal(413, { message: 'the body is too large' });
    parts.push(part);
  }
  return new URLSearchParams(Buffer.concat(parts).toString('utf8'));
}

class Peer {
  #options;

  #people = new People();

  #codes = new Map();

  #tokens = new Map();

  constructor(options) {
    this.#options = options;
  }

  async handle(req, res) {
    try {
      await this.#route(req, res);
    } catch (error) {
      if (!(error instanceof Refusal)) console.error('github peer:', error);
      if (!res.headersSent) sendJson(res, error.status ?? 500, error.body ?? { message: 'Server Error' });
    }
  }

  async #route(req, res) {
    const url = new URL(req.url, this.#options.site);
    switch (`${req.method} ${url.pathname}`) {
      case 'GET /login/oauth/authorize':
        return this.#page(url.searchParams, res);
      case 'POST /login/oauth/authorize':
        return this.#decide(url.searchParams, await form(req), res);
      case 'POST /login/oauth/access_token':
        return this.#exchange(req, await form(req), res);
      case `GET ${API}/user`:
        return sendJson(res, 200, this.#people.user(this.#bearer(req, 'read:user')));
      case `GET ${API}/user/emails`:
        return sendJson(res, 200, this.#people.emails(this.#bearer(req, 'user:email')));
      case 'POST /_peer/rename': {
        const order = await form(req);
        return sendJson(res, 200, { id: this.#people.rename(order.get('email'), order.get('login')) });
      }
      default:
        throw new Refusal(404, { message: 'Not Found' });
    }
  }

  /** What the authorization request asks for, if it may. */
  #asked(params) {
    const asked = Object.fromEntries(params);
    const { clientId, redirectUris } = this.#options;
    if (asked.client_id !== clientId) throw new Refusal(404, { message: 'Not Found' });
    if (!redirectUris.includes(asked.redirect_uri)) throw new Refusal(400, { message: 'the redirect_uri is not associated with this application' });
    if (!asked.state) throw new Refusal(400, { message: 'state is missing' });
    if (asked.code_challenge_method !== 'S256' || asked.code_challenge?.length !== 43) {
      throw new Refusal(400, { message: 'a code_challenge by S256 is missing' });
    }
    return asked;
  }

  #page(params, res) {
    this.#asked(params);
    const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in to the local GitHub</title>
<body style="font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh"><form method="post">
<h1 style="font-size:1.3rem">Sign in to the local GitHub</h1>
<p>Any address works; with <code>+unverified</code> in it, it counts as not verified.</p>
<label>E-mail <input name="email" type="email" required autofocus></label>
<button>Authorize</button> <button name="cancel" value="1" formnovalidate>Cancel</button></form></body></html>`;
    return send(res, 200, 'text/html; charset=utf-8', page);
  }

  #decide(params, decision, res) {
    const asked = this.#asked(params);
    const back = new URL(asked.redirect_uri);
    back.searchParams.set('state', asked.state);
    if (decision.has('cancel')) {
      back.searchParams.set('error', 'access_denied');
      back.searchParams.set('error_description', 'The user has denied your application access.');
      return redirect(res, back);
    }
    const email = (decision.get('email') ?? '').trim();
    if (!isEmail(email)) throw new Refusal(400, { message: 'no address' });
    const code = token('');
    this.#codes.set(code, {
      user: this.#people.signIn(email),
      challenge: asked.code_challenge,
      redirectUri: asked.redirect_uri,
      scopes: (asked.scope ?? '').split(' ').filter(Boolean),
      until: Date.now() + CODE_LIFE_MS,
    });
    back.searchParams.set('code', code);
    return redirect(res, back);
  }

  #exchange(req, asked, res) {
    const { clientId, clientSecret } = this.#options;
    if (!same(asked.get('client_id'), clientId) || !same(asked.get('client_secret'), clientSecret)) {
      throw tokenError('incorrect_client_credentials', 'The client_id and/or client_secret passed are incorrect.');
    }
    const code = this.#codes.get(asked.get('code'));
    // A code is spent by the first who shows it, right or wrong.
    this.#codes.delete(asked.get('code'));
    if (!code || code.until <= Date.now()) {
      throw tokenError('bad_verification_code', 'The code passed is incorrect or expired.');
    }
    if (asked.get('redirect_uri') !== code.redirectUri) {
      throw tokenError('redirect_uri_mismatch', 'The redirect_uri MUST match the registered callback URL.');
    }
    const challenge = createHash('sha256').update(asked.get('code_verifier') ?? '').digest('base64url');
    if (!same(challenge, code.challenge)) {
      throw tokenError('bad_verification_code', 'The code_verifier does not match.');
    }
    const accessToken = token('gho_');
    this.#tokens.set(accessToken, { user: code.user, scopes: code.scopes });
    const granted = { access_token: accessToken, token_type: 'bearer', scope: code.scopes.join(',') };
    // Without this header GitHub answers in a form's encoding.
    if (!(req.headers.accept ?? '').includes('application/json')) {
      return send(res, 200, 'application/x-www-form-urlencoded', String(new URLSearchParams(granted)));
    }
    return sendJson(res, 200, granted);
  }

  #bearer(req, scope) {
    const [scheme, value] = (req.headers.authorization ?? '').split(' ');
    const known = scheme.toLowerCase() === 'bearer' ? this.#tokens.get(value) : undefined;
    if (!known) throw new Refusal(401, { message: 'Bad credentials' });
    if (!req.headers['user-agent']) throw new Refusal(403, { message: 'Request forbidden by administrative rules.' });
    if (!known.scopes.includes(scope)) throw new Refusal(404, { message: 'Not Found' });
    return known.user;
  }
}
