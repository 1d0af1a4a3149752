import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { startPeer } from '../src/peer.mjs';

const CALLBACK = 'http://127.0.0.1:9000/api/auth/github-local/callback';
const CLIENT = { clientId: 'camarad', clientSecret: 'local-secret' };

let peer;
before(async () => {
  peer = await startPeer({ ...CLIENT, redirectUris: [CALLBACK] });
});
after(() => peer.close());

function authorization(change = {}) {
  const verifier = randomBytes(32).toString('base64url');
  const params = {
    client_id: CLIENT.clientId,
    redirect_uri: CALLBACK,
    state: 'st-1',
    scope: 'read:user user:email',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...change,
  };
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  return { url: `${peer.site}/login/oauth/authorize?${new URLSearchParams(given)}`, verifier };
}

async function signIn(email, request = authorization()) {
  const body = new URLSearchParams({ email });
  const answer = await fetch(request.url, { method: 'POST', body, redirect: 'manual' });
  assert.equal(answer.status, 302);
  const callback = new URL(answer.headers.get('location'));
  return { verifier: request.verifier, code: callback.searchParams.get('code'), state: callback.searchParams.get('state') };
}

async function exchange({ code, verifier }, change = {}, headers = { accept: 'application/json' }) {
  const body = new URLSearchParams({
    client_id: CLIENT.clientId,
    client_secret: CLIENT.clientSecret,
    code,
    redirect_uri: CALLBACK,
    code_verifier: verifier,
    ...change,
  });
  const answer = await fetch(`${peer.site}/login/oauth/access_token`, { method: 'POST', body, headers });
  return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() };
}

const api = (path, authorizationHeader) =>
  fetch(`${peer.site}/api/v3${path}`, { headers: authorizationHeader ? { authorization: authorizationHeader } : {} });

describe('the GitHub peer', () => {
  it('signs a person in and tells who it is', async () => {
    const signed = await signIn('ann@example.com');
    assert.equal(signed.state, 'st-1');
    const { status, text } = await exchange(signed);
    const { access_token: token, token_type: type, scope } = JSON.parse(text);
    assert.deepEqual([status, type, scope], [200, 'bearer', 'read:user,user:email']);
    const user = await (await api('/user', `Bearer ${token}`)).json();
    assert.deepEqual([user.login, user.name, typeof user.id], ['ann', 'Ann', 'number']);
    const emails = await (await api('/user/emails', `Bearer ${token}`)).json();
    assert.deepEqual(emails.find((e) => e.primary), { email: 'ann@example.com', primary: true, verified: true, visibility: 'private' });
  });

  it('refuses a wrong request for authorization', async () => {
    for (const [change, status] of [
      [{ client_id: 'another' }, 404],
      [{ redirect_uri: `${CALLBACK}/more` }, 400],
      [{ state: undefined }, 400],
      [{ code_challenge: undefined }, 400],
      [{ code_challenge_method: 'plain' }, 400],
    ]) {
      assert.equal((await fetch(authorization(change).url)).status, status, JSON.stringify(change));
    }
  });

  it('refuses a wrong exchange, with status 200 as GitHub does', async () => {
    for (const [change, error] of [
      [{ client_secret: 'wrong' }, 'incorrect_client_credentials'],
      [{ client_id: 'wrong' }, 'incorrect_client_credentials'],
      [{ code: 'wrong' }, 'bad_verification_code'],
      [{ redirect_uri: 'http://127.0.0.1:1/' }, 'redirect_uri_mismatch'],
      [{ code_verifier: 'wrong' }, 'bad_verification_code'],
    ]) {
      const { status, text } = await exchange(await signIn('ann@example.com'), change);
      assert.deepEqual([status, JSON.parse(text).error], [200, error]);
    }
    const signed = await signIn('ann@example.com');
    await exchange(signed);
    assert.equal(JSON.parse((await exchange(signed)).text).error, 'bad_verification_code');
  });

  it('answers a form to who does not ask for JSON', async () => {
    const { type, text } = await exchange(await signIn('ann@example.com'), {}, {});
    assert.equal(type, 'application/x-www-form-urlencoded');
    assert.match(new URLSearchParams(text).get('access_token'), /^gho_/);
  });

  it('wants a bearer token with the scope', async () => {
    assert.equal((await api('/user')).status, 401);
    assert.equal((await api('/user', 'Bearer gho_wrong')).status, 401);
    const signed = await signIn('ann@example.com', authorization({ scope: 'read:user' }));
    const { access_token: token } = JSON.parse((await exchange(signed)).text);
    assert.equal((await api('/user', `token ${token}`)).status, 401);
    assert.equal((await api('/user', `Bearer ${token}`)).status, 200);
    assert.equal((await api('/user/emails', `Bearer ${token}`)).status, 404);
  });
});
