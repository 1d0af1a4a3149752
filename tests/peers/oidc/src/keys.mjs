// Signing keys: one for RS256 and one for ES256, made at start and on demand.

import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';

export const ALGORITHMS = ['RS256', 'ES256'];

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, alg, use: 'sig', kid: await calculateJwkThumbprint(jwk) };
}

const generation = () => Promise.all(ALGORITHMS.map(newKey));

/** The published keys. The first one of an algorithm signs. */
export class KeyRing {
  #generations;

  constructor(first) {
    this.#generations = [first];
  }

  static async create() {
    return new KeyRing(await generation());
  }

  /** Private JWKs, newest first, in copies: the provider adds to what it is given. */
  get jwks() {
    return { keys: this.#generations.flat().map((key) => ({ ...key })) };
  }

  signingKey(alg) {
    return this.jwks.keys.find((key) => key.alg === alg);
  }

  /**
   * New keys sign from now on. The generation before stays published, as a relying party may still hold tokens that it
   * signed; with forgetOld it is gone at once, as after a compromise.
   */
  async rotate({ forgetOld = false } = {}) {
    const fresh = await generation();
    this.#generations = forgetOld ? [fresh] : [fresh, this.#generations[0]];
  }
}

/** A key that is published nowhere, for signatures that must not verify. */
export const foreignKey = newKey;
