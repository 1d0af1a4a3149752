// A relying party and a person in a few lines of plain fetch.

import { createHash, randomBytes } from 'node:crypto';

import { startPeer } from '../src/peer.mjs';

export const CALLBACK = 'http://127.0.0.1:9000/api/auth/camarad-local/callback';
export const CLIENT = { clientId: 'camarad', clientSecret: 'local-secret' };

export const start = (more = {}) => startPeer({ ...CLIENT, redirectUris: [CALLBACK], ...more });

// 32 bytes make 43 characters, the least that a verifier may have.
const random = () => randomBytes(32).toString('base64url');

/** A request with everything that a careful relying party sends; `change` overrides parameters, undefined removes one. */
export function authorization(issuer, change = {}) {
  const verifier = random();
  const params = {
    client_id: CLIENT.clientId,
    redirect_uri: CALLBACK,
    response_type: 'code',
    scope: 'openid email profile',
    state: random(),
    nonce: random(),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...change,
  };
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  return { url: `${issuer}/auth?${new URLSearchParams(given)}`, verifier, state: params.state, nonce: params.nonce };
}

/** One browser: sends its cookies back, follows nothing by itself. */
export class Browser {
  #cookies = new Map();

  async go(url, init = {}) {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      if (value) this.#cookies.set(name, value);
      else this.#cookies.delete(name);
    }
    return response;
  }

  /** Follows redirects inside the provider; gives the last response, or the address outside that it was sent to. */
  async follow(response, issuer) {
    while (response.status === 302 || response.status === 303) {
      const next = new URL(response.headers.get('location'), issuer);
      if (next.origin !== issuer) return { callback: next };
      response = await this.go(next);
      response.address = next.href;
    }
    return { page: response };
  }

  /** Signs in on the page that an authorization request leads to; gives the callback's address. */
  async signIn(issuer, url, form) {
    const { page } = await this.follow(await this.go(url), issuer);
    if (!page || page.status !== 200) throw new Error(`no sign-in page: ${page?.status} ${await page?.text()}`);
    const posted = await this.go(page.address, { method: 'POST', body: new URLSearchParams(form) });
    const { callback, page: other } = await this.follow(posted, issuer);
    if (!callback) throw new Error(`not sent back: ${other.status} ${await other.text()}`);
    return callback;
  }
}

/** Exchanges a code; `change` overrides the form, `auth` the credentials. */
export async function exchange(issuer, code, verifier, { change = {}, auth = CLIENT, post = false } = {}) {
  const form = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: verifier, ...change };
  const headers = {};
  if (post) Object.assign(form, { client_id: auth.clientId, client_secret: auth.clientSecret });
  else headers.authorization = `Basic ${btoa(`${auth.clientId}:${auth.clientSecret}`)}`;
  const given = Object.entries(form).filter(([, value]) => value !== undefined);
  const response = await fetch(`${issuer}/token`, { method: 'POST', headers, body: new URLSearchParams(given) });
  return { status: response.status, body: await response.json() };
}

/** From nothing to a token response. */
export async function wholeFlow(issuer, email, options) {
  const request = authorization(issuer);
  const callback = await new Browser().signIn(issuer, request.url, { email });
  const code = callback.searchParams.get('code');
  return { ...request, callback, code, ...(await exchange(issuer, code, request.verifier, options)) };
}

export const control = (issuer, path, body) =>
  fetch(`${issuer}/_peer/${path}`, { method: 'POST', body: JSON.stringify(body) });
