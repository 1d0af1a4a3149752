// The customer portal: what one has, cancel, go on, another card, the bills.

import { changeSubscription } from '../billing/changes.mjs';
import { end } from '../billing/state.mjs';
import { attach, makeCard } from '../payments/methods.mjs';
import { payNow } from '../billing/collection.mjs';
import { livingCustomer } from '../render.mjs';
import { StripeError } from '../wire/errors.mjs';
import { day, escape, money, page } from './html.mjs';

const OVER = ['canceled', 'incomplete_expired'];

const button = (action, id, label) => `<form method="post" style="display:inline"><input type="hidden" name="action" value="${action}"><input type="hidden" name="id" value="${escape(id)}"><button>${label}</button></form>`;

const mine = (account, kind, session) => account.store.all(kind).filter((entry) => entry.customer === session.customer).reverse();

function subscriptionRow(account, subscription, { subscription_cancel: cancel }) {
  const item = subscription.items.data[0];
  const name = account.store.get('product', account.store.get('price', item.price).product).name;
  const ends = subscription.cancel_at ? `, ends ${day(subscription.cancel_at)}` : `, until ${day(item.current_period_end)}`;
  const action = OVER.includes(subscription.status) || !cancel.enabled ? '' : subscription.cancel_at_period_end ? button('resume', subscription.id, 'Do not cancel') : button('cancel', subscription.id, 'Cancel');
  return `<tr><td>${escape(name)}</td><td>${escape(subscription.status)}${ends}</td><td>${action}</td></tr>`;
}

function invoiceRow(invoice) {
  const pay = invoice.status === 'open' ? button('pay', invoice.id, 'Pay') : '';
  return `<tr><td><a href="${escape(invoice.hosted_invoice_url)}">${escape(invoice.number ?? 'draft')}</a></td><td>${day(invoice.created)}</td><td>${money(invoice.total, invoice.currency)}</td><td>${escape(invoice.status)} ${pay}</td></tr>`;
}

export function show(account, session, problem) {
  const { features } = account.store.get('billing_portal.configuration', session.configuration);
  const customer = livingCustomer(account, session.customer);
  const cards = mine(account, 'payment_method', session).map(({ id, card }) => {
    const standard = customer.invoice_settings.default_payment_method === id ? ' (default)' : '';
    return `<tr><td>${escape(card.brand)} ···· ${escape(card.last4)}${standard}</td></tr>`;
  });
  const update = features.payment_method_update.enabled
    ? '<form method="post"><input type="hidden" name="action" value="card"><label>Another card <input name="card" inputmode="numeric" value="4242 4242 4242 4242"></label><button>Use this card</button></form>'
    : '';
  const back = session.return_url ? `<p><a href="${escape(session.return_url)}">Return</a></p>` : '';
  const html = page(
    'Your subscription',
    `<table>${mine(account, 'subscription', session).map((entry) => subscriptionRow(account, entry, features)).join('')}</table>
<h2>Cards</h2><table>${cards.join('')}</table>${update}
${features.invoice_history.enabled ? `<h2>Invoices</h2><table>${mine(account, 'invoice', session).map(invoiceRow).join('')}</table>` : ''}${back}`,
    problem,
  );
  return { status: problem ? 402 : 200, html };
}

/** A card that is added in the portal is the one that is used from then on. */
function useCard(account, session, number) {
  const customer = livingCustomer(account, session.customer);
  const method = attach(account, makeCard(account, { number, clock: account.clockOf(customer) }), customer);
  account.change(customer, 'customer.updated', () => {
    customer.invoice_settings.default_payment_method = method.id;
  });
  for (const subscription of mine(account, 'subscription', session).filter(({ status }) => !OVER.includes(status))) {
    changeSubscription(account, subscription, { default_payment_method: method.id });
  }
}

const ACTIONS = {
  cancel(account, session, { id }, features) {
    const subscription = account.store.get('subscription', id);
    if (features.subscription_cancel.mode === 'immediately') end(account, subscription);
    else changeSubscription(account, subscription, { cancel_at_period_end: true });
  },
  resume: (account, session, { id }) => changeSubscription(account, account.store.get('subscription', id), { cancel_at_period_end: false }),
  card: (account, session, { card = '' }) => useCard(account, session, card.replace(/\D/g, '')),
  pay: (account, session, { id }) => payNow(account, account.store.get('invoice', id)),
};

export function submit(account, session, given) {
  const { features } = account.store.get('billing_portal.configuration', session.configuration);
  const owned = !given.id || ['subscription', 'invoice'].some((kind) => account.store.find(kind, given.id)?.customer === session.customer);
  if (!Object.hasOwn(ACTIONS, given.action ?? '') || !owned) return show(account, session, 'No such action.');
  try {
    ACTIONS[given.action](account, session, given, features);
    return { status: 303, location: session.url };
  } catch (error) {
    if (!(error instanceof StripeError)) throw error;
    return show(account, session, error.message);
  }
}
