// The provider's configuration: as strict as OAuth 2.1 and the OpenID Connect core ask for.

import Provider, { interactionPolicy } from 'oidc-provider';

import { errorPage } from './page.mjs';

const SECONDS = { minute: 60, hour: 3600, day: 86_400 };

/**
 * Asks who it is at every sign-in, even if the browser has a session: a developer wants to come as somebody else. Only
 * prompt=none goes by the session alone.
 */
function policy() {
  const { base, Check } = interactionPolicy;
  const prompts = base();
  prompts.get('login').checks.add(
    new Check('choose_account', 'the person has to say who it is', 'login_required', (ctx) => {
      const decided = ctx.oidc.result?.login || ctx.oidc.prompts.has('none');
      return decided ? Check.NO_NEED_TO_PROMPT : Check.REQUEST_PROMPT;
    }),
  );
  return prompts;
}

/** The only client is our own, so nobody is asked for consent: what it asks for is granted. */
async function grantAll(ctx) {
  const { client, session, provider, params } = ctx.oidc;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope);
  await grant.save();
  return grant;
}

/** Built anew when keys rotate; everything that has to survive that comes in from outside. */
export function buildProvider({ issuer, client, ring, store, accounts, tampering, cookieKey }) {
  const provider = new Provider(issuer, {
    adapter: store,
    jwks: ring.jwks,
    clients: [{
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: client.redirectUris,
      grant_types: ['authorization_code'],
      response_types: ['code'],
      // client_secret_post is let in by the same registration.
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: client.alg,
    }],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
    responseTypes: ['code'],
    scopes: ['openid', 'email', 'profile'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'picture'] },
    conformIdTokenClaims: false,
    findAccount: async (_ctx, sub) => accounts.find(sub, issuer),
    pkce: { methods: ['S256'], required: () => true },
    allowOmittingSingleRegisteredRedirectUri: false,
    clockTolerance: 0,
    cookies: { keys: [cookieKey] },
    features: { devInteractions: { enabled: false } },
    interactions: { policy: policy(), url: (_ctx, { uid }) => `/interaction/${uid}` },
    loadExistingGrant: grantAll,
    renderError: async (ctx, out) => {
      ctx.type = 'html';
      ctx.body = errorPage(out);
    },
    ttl: {
      AuthorizationCode: SECONDS.minute,
      AccessToken: SECONDS.hour,
      IdToken: SECONDS.hour,
      Interaction: SECONDS.hour,
      Session: SECONDS.day,
      Grant: SECONDS.day,
    },
  });
  provider.use(tampering.middleware(ring));
  provider.on('server_error', (_ctx, error) => console.error('oidc peer:', error));
  return provider;
}
