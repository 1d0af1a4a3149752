import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';

import { Browser, CALLBACK, CLIENT, authorization, control, exchange, start, wholeFlow } from './flow.mjs';

let peer;
before(async () => { peer = await start(); });
after(() => peer.close());

const verify = (issuer, token) =>
  jwtVerify(token, createRemoteJWKSet(new URL(`${issuer}/jwks`)), { issuer, audience: CLIENT.clientId });

describe('a sign-in', () => {
  it('gives an ID token that holds, and the same claims at userinfo', async () => {
    const flow = await wholeFlow(peer.issuer, 'ada.lovelace@example.org');
    assert.equal(flow.status, 200, JSON.stringify(flow.body));
    assert.equal(flow.callback.searchParams.get('state'), flow.state);
    assert.equal(flow.callback.searchParams.get('iss'), peer.issuer);
    assert.equal(flow.callback.origin + flow.callback.pathname, CALLBACK);

    const { payload, protectedHeader } = await verify(peer.issuer, flow.body.id_token);
    assert.equal(protectedHeader.alg, 'RS256');
    assert.equal(payload.nonce, flow.nonce);
    assert.ok(payload.at_hash);
    const { sub, email, email_verified: verified, name, picture } = payload;
    assert.deepEqual({ email, verified, name }, { email: 'ada.lovelace@example.org', verified: true, name: 'Ada Lovelace' });

    const info = await fetch(`${peer.issuer}/me`, { headers: { authorization: `Bearer ${flow.body.access_token}` } });
    assert.deepEqual(await info.json(), { sub, email, email_verified: verified, name, picture });
    const drawn = await fetch(picture);
    assert.match(await drawn.text(), /<svg[\s\S]*AL/);
  });

  it('gives a person the same subject each time and another person another', async () => {
    const subs = [];
    for (const email of ['ada@example.org', 'ADA@example.org ', 'bob@example.org']) {
      subs.push(decodeJwt((await wholeFlow(peer.issuer, email)).body.id_token).sub);
    }
    assert.equal(subs[0], subs[1]);
    assert.notEqual(subs[0], subs[2]);
  });

  it('tells unverified addresses', async () => {
    const { body } = await wholeFlow(peer.issuer, 'ada+unverified@example.org');
    assert.equal(decodeJwt(body.id_token).email_verified, false);
  });

  it('takes the secret in the form too', async () => {
    assert.equal((await wholeFlow(peer.issuer, 'ada@example.org', { post: true })).status, 200);
  });

  it('can be cancelled', async () => {
    const request = authorization(peer.issuer);
    const callback = await new Browser().signIn(peer.issuer, request.url, { cancel: '1' });
    assert.equal(callback.searchParams.get('error'), 'access_denied');
    assert.equal(callback.searchParams.get('state'), request.state);
  });

  it('asks again for what is no address, and for everyone at a second sign-in', async () => {
    const browser = new Browser();
    const { page } = await browser.follow(await browser.go(authorization(peer.issuer).url), peer.issuer);
    const refused = await browser.go(page.address, { method: 'POST', body: new URLSearchParams({ email: '<ada' }) });
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /value="&lt;ada"/);
    assert.ok(await browser.signIn(peer.issuer, authorization(peer.issuer).url, { email: 'ada@example.org' }));
    const again = await browser.follow(await browser.go(authorization(peer.issuer).url), peer.issuer);
    assert.match(await again.page.text(), /value="ada@example.org"/);
    const silent = await browser.follow(await browser.go(authorization(peer.issuer, { prompt: 'none' }).url), peer.issuer);
    assert.ok(silent.callback.searchParams.get('code'));
  });

  it('asks again when told to, and says when it did', async () => {
    const browser = new Browser();
    const plain = authorization(peer.issuer);
    const first = await browser.signIn(peer.issuer, plain.url, { email: 'ada@example.org' });
    const { body } = await exchange(peer.issuer, first.searchParams.get('code'), plain.verifier);
    assert.equal(decodeJwt(body.id_token).auth_time, undefined);
    for (const again of [{ prompt: 'login' }, { max_age: '0' }, { prompt: 'login', max_age: '0' }]) {
      const started = Math.floor(Date.now() / 1000);
      const request = authorization(peer.issuer, again);
      const callback = await browser.signIn(peer.issuer, request.url, { email: 'ada@example.org' });
      const told = await exchange(peer.issuer, callback.searchParams.get('code'), request.verifier);
      assert.ok(decodeJwt(told.body.id_token).auth_time >= started);
    }
    const wrong = authorization(peer.issuer, { max_age: 'soon' });
    const { callback } = await browser.follow(await browser.go(wrong.url), peer.issuer);
    assert.equal(callback.searchParams.get('error'), 'invalid_request');
  });

  it('lets another person in from the same browser', async () => {
    const browser = new Browser();
    await browser.signIn(peer.issuer, authorization(peer.issuer).url, { email: 'ada@example.org' });
    const request = authorization(peer.issuer);
    const { page } = await browser.follow(await browser.go(request.url), peer.issuer);
    const posted = await browser.go(page.address, { method: 'POST', body: new URLSearchParams({ email: 'bob@example.org' }) });
    // The provider signs Ada out first, by a form that a browser submits by itself.
    const handOver = await browser.follow(posted, peer.issuer);
    const form = await handOver.page.text();
    const action = form.match(/action="([^"]+)"/)[1];
    const fields = [...form.matchAll(/name="([^"]+)" value="([^"]*)"/g)].map(([, name, value]) => [name, value]);
    const confirmed = await browser.go(action, { method: 'POST', body: new URLSearchParams(fields) });
    const { callback } = await browser.follow(confirmed, peer.issuer);
    const { body } = await exchange(peer.issuer, callback.searchParams.get('code'), request.verifier);
    assert.equal(decodeJwt(body.id_token).email, 'bob@example.org');
  });

  it('is described by the discovery document', async () => {
    const found = await (await fetch(`${peer.issuer}/.well-known/openid-configuration`)).json();
    assert.equal(found.issuer, peer.issuer);
    assert.deepEqual(found.code_challenge_methods_supported, ['S256']);
    assert.deepEqual(found.response_types_supported, ['code']);
    assert.deepEqual(found.id_token_signing_alg_values_supported.toSorted(), ['ES256', 'RS256']);
    assert.deepEqual(found.token_endpoint_auth_methods_supported.toSorted(), ['client_secret_basic', 'client_secret_post']);
    assert.equal(found.authorization_response_iss_parameter_supported, true);
    assert.ok(found.claims_supported.includes('auth_time'));
  });
});

describe('refused at the authorization endpoint', () => {
  const toCallback = {
    'no challenge': { code_challenge: undefined, code_challenge_method: undefined },
    'a plain challenge': { code_challenge_method: 'plain' },
    'the implicit flow': { response_type: 'id_token' },
  };
  for (const [name, change] of Object.entries(toCallback)) {
    it(name, async () => {
      const browser = new Browser();
      const { callback } = await browser.follow(await browser.go(authorization(peer.issuer, change).url), peer.issuer);
      const answer = new URLSearchParams(callback.search || callback.hash.slice(1));
      assert.ok(['invalid_request', 'unsupported_response_type', 'unauthorized_client'].includes(answer.get('error')));
      assert.equal(answer.get('code'), null);
    });
  }

  const onThePage = {
    'another redirect_uri': { redirect_uri: `${CALLBACK}/more` },
    'a redirect_uri with a query': { redirect_uri: `${CALLBACK}?a=b` },
    'no redirect_uri': { redirect_uri: undefined },
    'an unknown client': { client_id: 'stranger' },
  };
  for (const [name, change] of Object.entries(onThePage)) {
    it(`${name}, without a redirect`, async () => {
      const response = await new Browser().go(authorization(peer.issuer, change).url);
      assert.equal(response.status, 400);
      assert.match(await response.text(), /Sign-in failed/);
    });
  }
});

describe('refused at the token endpoint', () => {
  const cases = {
    'a wrong verifier': [{ change: { code_verifier: 'x'.repeat(43) } }, 400, 'invalid_grant'],
    'no verifier': [{ change: { code_verifier: undefined } }, 400, 'invalid_grant'],
    'another redirect_uri': [{ change: { redirect_uri: `${CALLBACK}/more` } }, 400, 'invalid_grant'],
    'an unknown code': [{ change: { code: 'nothing' } }, 400, 'invalid_grant'],
    'a wrong secret': [{ auth: { ...CLIENT, clientSecret: 'guess' } }, 401, 'invalid_client'],
    'a wrong secret in the form': [{ auth: { ...CLIENT, clientSecret: 'guess' }, post: true }, 401, 'invalid_client'],
  };
  for (const [name, [options, status, error]] of Object.entries(cases)) {
    it(name, async () => {
      const flow = await wholeFlow(peer.issuer, 'ada@example.org', options);
      assert.deepEqual([flow.status, flow.body.error], [status, error]);
    });
  }

  it('a code used twice, and the first use is taken back', async () => {
    const flow = await wholeFlow(peer.issuer, 'ada@example.org');
    const second = await exchange(peer.issuer, flow.code, flow.verifier);
    assert.deepEqual([second.status, second.body.error], [400, 'invalid_grant']);
    const info = await fetch(`${peer.issuer}/me`, { headers: { authorization: `Bearer ${flow.body.access_token}` } });
    assert.equal(info.status, 401);
  });
});

describe('keys', () => {
  it('rotate: old tokens hold as long as the old key is published', async () => {
    const before = (await wholeFlow(peer.issuer, 'ada@example.org')).body.id_token;
    const rotated = await (await control(peer.issuer, 'rotate-keys')).json();
    const next = (await wholeFlow(peer.issuer, 'ada@example.org')).body.id_token;
    assert.equal(decodeProtectedHeader(next).kid, rotated.signing);
    assert.notEqual(decodeProtectedHeader(before).kid, rotated.signing);
    await verify(peer.issuer, before);
    await verify(peer.issuer, next);
    await control(peer.issuer, 'rotate-keys', { forgetOld: true });
    await assert.rejects(verify(peer.issuer, next), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
  });

  it('rotate in the middle of a sign-in', async () => {
    const request = authorization(peer.issuer);
    const callback = await new Browser().signIn(peer.issuer, request.url, { email: 'ada@example.org' });
    await peer.rotateKeys();
    const { body } = await exchange(peer.issuer, callback.searchParams.get('code'), request.verifier);
    await verify(peer.issuer, body.id_token);
  });

  it('sign with ES256 if told to', async (t) => {
    const other = await start({ alg: 'ES256' });
    t.after(() => other.close());
    const { body } = await wholeFlow(other.issuer, 'ada@example.org');
    assert.equal((await verify(other.issuer, body.id_token)).protectedHeader.alg, 'ES256');
  });
});
