import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';

import { TAMPER_MODES } from '../src/tamper.mjs';
import { Browser, CLIENT, authorization, control, exchange, start, wholeFlow } from './flow.mjs';

let peer;
before(async () => { peer = await start(); });
after(() => peer.close());

const verified = (token) => jwtVerify(token, createRemoteJWKSet(new URL(`${peer.issuer}/jwks`)), {
  issuer: peer.issuer, audience: CLIENT.clientId, algorithms: ['RS256'],
});

const atHash = (token) => createHash('sha256').update(token).digest().subarray(0, 16).toString('base64url');

/** What a careful relying party finds wrong with a token response. */
async function faults({ body, nonce }) {
  const found = [];
  const claims = decodeJwt(body.id_token);
  await verified(body.id_token).catch((error) => found.push(error.claim ?? error.code));
  if (claims.nonce !== nonce) found.push('nonce');
  if (claims.at_hash !== atHash(body.access_token)) found.push('at_hash');
  return found;
}

const EXPECTED = {
  'bad-signature': ['ERR_JWS_SIGNATURE_VERIFICATION_FAILED'],
  'wrong-aud': ['aud'],
  'wrong-iss': ['iss'],
  'wrong-nonce': ['nonce'],
  expired: ['exp'],
  'bad-at-hash': ['at_hash'],
  'unknown-kid': ['ERR_JWKS_NO_MATCHING_KEY'],
  // Who did not ask when the person was asked does not mind.
  'old-auth-time': [],
  'without-auth-time': [],
  'without-email': [],
  'alg-none': ['ERR_JOSE_ALG_NOT_ALLOWED'],
};

describe('a tampered ID token', () => {
  it('has a test for every mode', () => assert.deepEqual(Object.keys(EXPECTED), TAMPER_MODES));

  for (const [mode, expected] of Object.entries(EXPECTED)) {
    it(`${mode}: exactly that is wrong, and only once`, async () => {
      assert.equal((await control(peer.issuer, 'tamper', { idToken: mode })).status, 200);
      const flow = await wholeFlow(peer.issuer, 'ada@example.org');
      assert.equal(flow.status, 200);
      assert.deepEqual(await faults(flow), expected);
      assert.deepEqual(await faults(await wholeFlow(peer.issuer, 'ada@example.org')), []);
    });
  }

  it('alg-none has no signature at all', async () => {
    await control(peer.issuer, 'tamper', { idToken: 'alg-none' });
    const { body } = await wholeFlow(peer.issuer, 'ada@example.org');
    assert.equal(decodeProtectedHeader(body.id_token).alg, 'none');
    assert.ok(body.id_token.endsWith('.'));
  });

  it('without-email leaves the address to userinfo, which may be wrong too', async () => {
    await control(peer.issuer, 'tamper', { idToken: 'without-email', userinfo: 'wrong-sub' });
    const { body } = await wholeFlow(peer.issuer, 'ada@example.org');
    const claims = decodeJwt(body.id_token);
    assert.deepEqual([claims.email, claims.email_verified, claims.name], [undefined, undefined, 'Ada']);
    const userinfo = async () => {
      const headers = { authorization: `Bearer ${body.access_token}` };
      return (await fetch(`${peer.issuer}/me`, { headers })).json();
    };
    const [wrong, right] = [await userinfo(), await userinfo()];
    assert.deepEqual([wrong.sub, wrong.email], ['somebody-else', 'ada@example.org']);
    assert.deepEqual([right.sub, right.email_verified], [claims.sub, true]);
    assert.equal((await control(peer.issuer, 'tamper', { userinfo: 'rude' })).status, 400);
  });

  it('tells a wrong time of the last question, or none', async () => {
    const flow = async (mode) => {
      await control(peer.issuer, 'tamper', { idToken: mode });
      const request = authorization(peer.issuer, { max_age: '0' });
      const callback = await new Browser().signIn(peer.issuer, request.url, { email: 'ada@example.org' });
      const { body } = await exchange(peer.issuer, callback.searchParams.get('code'), request.verifier);
      const claims = decodeJwt(body.id_token);
      return claims.auth_time === undefined ? undefined : claims.iat - claims.auth_time;
    };
    assert.ok(await flow(null) < 5);
    assert.equal(await flow('old-auth-time'), 3600);
    assert.equal(await flow('without-auth-time'), undefined);
  });

  it('waits for a token response that succeeds', async () => {
    await control(peer.issuer, 'tamper', { idToken: 'wrong-aud' });
    const refused = await wholeFlow(peer.issuer, 'ada@example.org', { change: { code_verifier: 'x'.repeat(43) } });
    assert.equal(refused.status, 400);
    assert.deepEqual(await faults(await wholeFlow(peer.issuer, 'ada@example.org')), ['aud']);
  });

  it('can be taken back; unknown modes and paths are refused', async () => {
    await control(peer.issuer, 'tamper', { idToken: 'expired' });
    await control(peer.issuer, 'tamper', { idToken: null });
    assert.deepEqual(await faults(await wholeFlow(peer.issuer, 'ada@example.org')), []);
    assert.equal((await control(peer.issuer, 'tamper', { idToken: 'rude' })).status, 400);
    assert.equal((await control(peer.issuer, 'explode', {})).status, 404);
  });
});
