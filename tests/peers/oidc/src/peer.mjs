// The peer: one HTTP server in front of the provider, with the sign-in page and the control paths beside it.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { Accounts, picture } from './accounts.mjs';
import { HttpProblem, readJson, send, sendJson } from './http.mjs';
import { ALGORITHMS, KeyRing } from './keys.mjs';
import { handleLogin } from './login.mjs';
import { buildProvider } from './provider.mjs';
import { memoryStore } from './store.mjs';
import { TAMPER_MODES, USERINFO_MODES, Tampering } from './tamper.mjs';

/**
 * Starts on 127.0.0.1 (port 0 takes a free one) and resolves when it listens.
 *
 * The issuer has the port in it, so the socket is bound first and the provider built after.
 */
export async function startPeer({ port = 0, redirectUris, clientId, clientSecret, alg = 'RS256' }) {
  if (!ALGORITHMS.includes(alg)) throw new Error(`alg: one of ${ALGORITHMS.join(', ')}`);
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const parts = {
    issuer,
    client: { id: clientId, secret: clientSecret, redirectUris, alg },
    ring: await KeyRing.create(),
    store: memoryStore(),
    accounts: new Accounts(),
    tampering: new Tampering(),
    cookieKey: randomBytes(32).toString('base64url'),
  };
  const peer = new Peer(parts);
  server.on('request', (req, res) => peer.handle(req, res));
  return {
    issuer,
    rotateKeys: (options) => peer.rotateKeys(options),
    async close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

class Peer {
  #parts;

  #provider;

  #callback;

  /** How often each path was asked for. */
  #asked = {};

  constructor(parts) {
    this.#parts = parts;
    this.#rebuild();
  }

  #rebuild() {
    this.#provider = buildProvider(this.#parts);
    this.#callback = this.#provider.callback();
  }

  async handle(req, res) {
    try {
      await this.#route(req, res);
    } catch (error) {
      // oidc-provider's errors carry a status too, e.g. an interaction that has expired.
      const status = error.status ?? 500;
      if (status === 500) console.error('oidc peer:', error);
      if (!res.headersSent) sendJson(res, status, { error: error.error_description ?? error.message });
    }
  }

  async #route(req, res) {
    const { pathname } = new URL(req.url, this.#parts.issuer);
    this.#asked[pathname] = (this.#asked[pathname] ?? 0) + 1;
    if (pathname.startsWith('/interaction/')) {
      return handleLogin(req, res, { provider: this.#provider, accounts: this.#parts.accounts });
    }
    if (pathname.startsWith('/pictures/')) return this.#picture(pathname, res);
    if (pathname.startsWith('/_peer/')) return this.#control(`${req.method} ${pathname}`, req, res);
    return this.#callback(req, res);
  }

  #picture(pathname, res) {
    const email = this.#parts.accounts.email(pathname.slice('/pictures/'.length).replace(/\.svg$/, ''));
    if (!email) throw new HttpProblem(404, 'nobody with this picture has signed in');
    return send(res, 200, 'image/svg+xml', picture(email));
  }

  async #control(route, req, res) {
    switch (route) {
      case 'GET /_peer/asked':
        return sendJson(res, 200, this.#asked);
      case 'POST /_peer/rotate-keys':
        return sendJson(res, 200, await this.rotateKeys(await readJson(req)));
      case 'POST /_peer/tamper':
        return sendJson(res, 200, this.#tamper(await readJson(req)));
      default:
        throw new HttpProblem(404, `no such control path: ${route}`);
    }
  }

  async rotateKeys({ forgetOld = false } = {}) {
    const { ring, client } = this.#parts;
    await ring.rotate({ forgetOld });
    this.#rebuild();
    return { signing: ring.signingKey(client.alg).kid, published: ring.jwks.keys.map(({ kid }) => kid) };
  }

  #tamper({ idToken = null, userinfo = null }) {
    if (idToken !== null && !TAMPER_MODES.includes(idToken)) {
      throw new HttpProblem(400, `idToken: null or one of ${TAMPER_MODES.join(', ')}`);
    }
    if (userinfo !== null && !USERINFO_MODES.includes(userinfo)) {
      throw new HttpProblem(400, `userinfo: null or one of ${USERINFO_MODES.join(', ')}`);
    }
    this.#parts.tampering.order(idToken ?? undefined, userinfo ?? undefined);
    return { next: idToken, userinfo };
  }
}
