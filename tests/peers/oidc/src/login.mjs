// The sign-in page's two requests: GET shows it, POST decides.

import { isEmail } from './accounts.mjs';
import { send, readBody } from './http.mjs';
import { loginPage } from './page.mjs';

export async function handleLogin(req, res, { provider, accounts }) {
  const interaction = await provider.interactionDetails(req, res);
  const client = interaction.params.client_id;
  if (req.method !== 'POST') {
    const email = interaction.params.login_hint ?? accounts.email(interaction.session?.accountId);
    return send(res, 200, 'text/html; charset=utf-8', loginPage({ client, email }));
  }
  const form = new URLSearchParams(await readBody(req));
  if (form.has('cancel')) {
    const refused = { error: 'access_denied', error_description: 'The person cancelled the sign-in.' };
    return provider.interactionFinished(req, res, refused, { mergeWithLastSubmission: false });
  }
  const email = (form.get('email') ?? '').trim();
  if (!isEmail(email)) {
    const problem = 'Please type an e-mail address.';
    return send(res, 400, 'text/html; charset=utf-8', loginPage({ client, email, problem }));
  }
  const login = { accountId: accounts.register(email), amr: ['pwd'] };
  return provider.interactionFinished(req, res, { login }, { mergeWithLastSubmission: false });
}
