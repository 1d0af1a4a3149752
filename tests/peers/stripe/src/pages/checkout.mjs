// The page of a Checkout session.

import { complete } from '../billing/checkout.mjs';
import { StripeError } from '../wire/errors.mjs';
import { escape, money, page } from './html.mjs';

const field = (name, label, more = '') => `<label>${label} <input name="${name}" ${more}></label>`;

function form(session, problem) {
  const rows = session.$.lineItems.map((item) => `<tr><td>${escape(item.description)}</td><td>${item.quantity} × ${money(item.price.unit_amount, item.currency)}</td></tr>`);
  const { trial_end: until, trial_period_days: days } = session.$.subscriptionData;
  const trial = until ? `Free until ${new Date(until * 1000).toISOString().slice(0, 10)}.` : days ? `Free for ${days} days.` : '';
  const email = session.customer ? '' : field('email', 'E-mail', `type="email" value="${escape(session.customer_email)}"`);
  const due = session.mode === 'setup' ? 'Keep a card' : `Due now: ${money(session.amount_total, session.currency)}`;
  const cancel = session.cancel_url ? '<button name="cancel" value="1" formnovalidate>Back</button>' : '';
  return page(
    due,
    `<table>${rows.join('')}</table><p>${escape(trial)}</p><form method="post">${email}
${field('card', 'Card number', 'inputmode="numeric" value="4242 4242 4242 4242" autofocus')}
${field('name', 'Name on the card')}${field('country', 'Country', 'value="US" maxlength="2"')}
<button>${session.mode === 'subscription' ? 'Subscribe' : session.mode === 'setup' ? 'Save' : 'Pay'}</button> ${cancel}</form>`,
    problem,
  );
}

/** Where a person goes who has paid. */
export const successUrl = (session) => session.success_url.replaceAll('{CHECKOUT_SESSION_ID}', session.id);

const over = (session) => page('Nothing to pay', `<p>This session is ${escape(session.status)}.</p>`);

export const show = (account, session) => (session.status === 'open' ? { status: 200, html: form(session) } : { status: session.status === 'expired' ? 410 : 200, html: over(session) });

const address = (country) => ({ city: null, country: country.toUpperCase(), line1: null, line2: null, postal_code: null, state: null });

/** What the form says, as `complete` takes it. */
export const personOf = (given) => ({
  number: given.card?.replace(/\D/g, '') || undefined,
  email: given.email || undefined,
  name: given.name || undefined,
  address: given.country ? address(given.country) : undefined,
});

export function submit(account, session, given) {
  if (session.status !== 'open') return { status: 409, html: over(session) };
  if (given.cancel && session.cancel_url) return { status: 303, location: session.cancel_url };
  try {
    complete(account, session, personOf(given));
    return { status: 303, location: successUrl(session) };
  } catch (error) {
    if (!(error instanceof StripeError)) throw error;
    return { status: error.status, html: form(session, error.message) };
  }
}
