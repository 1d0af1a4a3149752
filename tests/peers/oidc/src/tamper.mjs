// Wrong ID tokens on demand, so that a relying party's checks can be seen to work.

import { CompactSign, base64url, decodeJwt, decodeProtectedHeader, importJWK } from 'jose';

import { foreignKey } from './keys.mjs';

const changed = (change) => async (token, keys) => sign(change(decodeJwt(token)), decodeProtectedHeader(token), keys);

async function sign(claims, header, keys) {
  const key = keys.find(({ kid }) => kid === header.kid) ?? keys[0];
  return signWith(key, claims, header);
}

async function signWith(jwk, claims, header) {
  const payload = new TextEncoder().encode(JSON.stringify(claims));
  return new CompactSign(payload).setProtectedHeader(header).sign(await importJWK(jwk, header.alg));
}

/** Each mode takes an honest ID token and the private keys, and changes one thing; the rest stays valid and signed. */
const MODES = {
  // A valid signature of a key that nobody published, under the kid of one that was.
  'bad-signature': async (token) => {
    const header = decodeProtectedHeader(token);
    return signWith(await foreignKey(header.alg), decodeJwt(token), header);
  },
  'wrong-aud': changed((claims) => ({ ...claims, aud: 'another-client' })),
  'wrong-iss': changed((claims) => ({ ...claims, iss: `${claims.iss}/another-issuer` })),
  'wrong-nonce': changed((claims) => ({ ...claims, nonce: 'another-nonce' })),
  expired: changed((claims) => ({ ...claims, iat: claims.iat - 7200, exp: claims.iat - 3600 })),
  'bad-at-hash': changed((claims) => ({ ...claims, at_hash: base64url.encode(new Uint8Array(16)) })),
  // A key that nobody published, and that nobody has heard of.
  'unknown-kid': async (token) => {
    const key = await foreignKey(decodeProtectedHeader(token).alg);
    return signWith(key, decodeJwt(token), { ...decodeProtectedHeader(token), kid: key.kid });
  },
  // As from a provider that goes by its own session although it was to ask again.
  'old-auth-time': changed((claims) => ({ ...claims, auth_time: claims.iat - 3600 })),
  'without-auth-time': changed(({ auth_time, ...claims }) => claims),
  // Nothing wrong: the address is for userinfo to tell.
  'without-email': changed(({ email, email_verified, ...claims }) => claims),
  'alg-none': async (token) => {
    const header = base64url.encode(JSON.stringify({ alg: 'none', typ: 'JWT' }));
    return `${header}.${token.split('.')[1]}.`;
  },
};

export const TAMPER_MODES = Object.keys(MODES);

/** What userinfo may say wrongly. */
const USERINFO = {
  'wrong-sub': (told) => ({ ...told, sub: 'somebody-else' }),
  'without-sub': ({ sub, ...told }) => told,
  'without-email': ({ email, email_verified, ...told }) => told,
  unverified: (told) => ({ ...told, email_verified: false }),
};

export const USERINFO_MODES = Object.keys(USERINFO);

/** The orders that wait for the next token response and the next userinfo response. */
export class Tampering {
  #next;

  #nextUserinfo;

  /** Undefined takes an order back. */
  order(mode, userinfo) {
    this.#next = mode;
    this.#nextUserinfo = userinfo;
  }

  /** Koa middleware around the provider's own: replaces the ID token in the next successful token response. */
  middleware(ring) {
    return async (ctx, next) => {
      await next();
      if (ctx.oidc?.route === 'userinfo' && ctx.body?.sub && this.#nextUserinfo) {
        const mode = this.#nextUserinfo;
        this.#nextUserinfo = undefined;
        ctx.body = USERINFO[mode](ctx.body);
      }
      const honest = ctx.oidc?.route === 'token' ? ctx.body?.id_token : undefined;
      if (!honest || !this.#next) return;
      const mode = this.#next;
      this.#next = undefined;
      ctx.body = { ...ctx.body, id_token: await MODES[mode](honest, ring.jwks.keys) };
    };
  }
}
