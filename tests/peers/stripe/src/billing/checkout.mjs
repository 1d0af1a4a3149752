// What a person does on the page of a Checkout session: pays, or does not.

import { confirm, keepCard, makeIntent } from '../payments/intents.mjs';
import { attach, makeCard } from '../payments/methods.mjs';
import { refusal } from '../payments/cards.mjs';
import { livingCustomer } from '../render.mjs';
import { makeCustomer } from '../resources/customers.mjs';
import { declined, invalid } from '../wire/errors.mjs';
import { makeInvoice } from './invoices.mjs';
import { attempt, bill } from './collection.mjs';
import { newId } from '../store.mjs';
import { subscribe } from './subscribe.mjs';

export function expireSession(account, session) {
  Object.assign(session, { status: 'expired', url: null });
  account.emit('checkout.session.expired', session);
  return session;
}

export function sessionDue(account, session) {
  if (session.status === 'open' && session.expires_at <= account.clockOf(session.customer).now) expireSession(account, session);
}

/** The customer who pays: the session's, or a new one where the mode needs one. */
function payer(account, session, { email, name, address }) {
  if (session.customer) {
    const customer = livingCustomer(account, session.customer);
    if (address && session.$.takesAddress) {
      account.change(customer, 'customer.updated', () => Object.assign(customer, { address }));
    }
    return customer;
  }
  if (session.mode === 'payment' && session.customer_creation !== 'always') return undefined;
  return makeCustomer(account, { email: email ?? session.customer_email ?? undefined, name, ...(address && { address }) });
}

function refuseAhead(session, card) {
  const later = session.mode === 'setup' || (session.mode === 'subscription' && session.$.trial);
  const refused = refusal(card.number, later ? 'attach' : 'charge');
  if (refused) throw declined(refused);
}

function startSubscription(account, session, customer, method) {
  const { subscriptionData: data, lineItems } = session.$;
  const recurring = lineItems.filter(({ price }) => price.type === 'recurring');
  const subscription = subscribe(account, customer, {
    ...data,
    items: recurring.map(({ price, quantity }) => ({ price: price.id, quantity })),
    default_payment_method: method?.id,
    automatic_tax: { enabled: session.automatic_tax.enabled },
    payment_behavior: 'allow_incomplete',
  });
  Object.assign(session, { subscription: subscription.id, invoice: subscription.latest_invoice });
}

function takePayment(account, session, customer, method) {
  const { intentData } = session.$;
  if (session.invoice_creation.enabled && customer) {
    const invoice = receipt(account, session, customer);
    attempt(account, invoice, { method, retry: false });
    Object.assign(session, { invoice: invoice.id, payment_intent: invoice.$.intent });
    return;
  }
  const intent = makeIntent(account, {
    customer: customer?.id ?? null,
    amount: session.amount_total,
    currency: session.currency,
    description: intentData.description ?? null,
    metadata: intentData.metadata ?? {},
    extra: { setup_future_usage: intentData.setup_future_usage ?? null },
  });
  session.payment_intent = intent.id;
  confirm(account, intent, method);
}

/** The invoice that a payment gets when `invoice_creation` is on, ready to be paid. */
function receipt(account, session, customer) {
  const { now } = account.clockOf(customer);
  const lines = session.$.lineItems.map((item) => ({
    id: newId('line_item'),
    object: 'line_item',
    amount: item.amount_total,
    currency: item.currency,
    description: item.description,
    discount_amounts: [],
    discountable: true,
    discounts: [],
    invoice: null,
    livemode: false,
    metadata: {},
    parent: { invoice_item_details: { invoice_item: newId('invoiceitem'), proration: false, proration_details: { credited_items: null }, subscription: null }, subscription_item_details: null, type: 'invoice_item_details' },
    period: { start: now, end: now },
    pretax_credit_amounts: [],
    pricing: { price_details: { price: item.price.id, product: item.price.product }, type: 'price_details', unit_amount_decimal: item.price.unit_amount_decimal },
    quantity: item.quantity,
    quantity_decimal: String(item.quantity),
    subscription: null,
    subtotal: item.amount_total,
    taxes: [],
  }));
  const invoice = makeInvoice(account, { customer: customer.id, lines, reason: 'manual', period: { start: now, end: now }, at: now });
  invoice.$.intentMetadata = session.$.intentData.metadata;
  bill(account, invoice, { collect: false });
  return invoice;
}

/** What comes after the money: the session is complete, and says who paid and what came of it. */
function finish(account, session, customer, { email, name, address }) {
  if (session.mode !== 'setup') session.payment_status = session.mode === 'subscription' && session.amount_total === 0 ? 'no_payment_required' : 'paid';
  Object.assign(session, {
    status: 'complete',
    url: null,
    customer: customer?.id ?? null,
    customer_details: {
      address: address ?? customer?.address ?? null,
      business_name: null,
      email: email ?? session.customer_email ?? customer?.email ?? null,
      individual_name: null,
      name: name ?? customer?.name ?? null,
      phone: null,
      tax_exempt: 'none',
      tax_ids: [],
    },
  });
  if (session.automatic_tax.enabled) session.automatic_tax.status = 'complete';
  account.emit('checkout.session.completed', session);
  return session;
}

/** A person pays with a card. Throws a card error, and nothing has changed, when the card is refused. */
export function complete(account, session, { number, ...person }) {
  sessionDue(account, session);
  if (session.status !== 'open') throw invalid(`This Checkout Session is ${session.status}.`);
  const withoutCard = !number && session.payment_method_collection === 'if_required' && session.amount_total === 0 && session.mode === 'subscription';
  const clock = account.clockOf(session.customer);
  const method = withoutCard ? undefined : makeCard(account, { number, billing: { email: person.email ?? null, name: person.name ?? null, address: person.address }, clock });
  if (method) refuseAhead(session, method.$);
  const customer = payer(account, session, person);
  const keeps = session.mode !== 'payment' || session.$.intentData.setup_future_usage;
  if (method && customer && keeps) attach(account, method, customer);
  if (session.mode === 'setup') session.setup_intent = keepCard(account, customer, method, {}).id;
  if (session.mode === 'subscription') startSubscription(account, session, customer, method);
  if (session.mode === 'payment') takePayment(account, session, customer, method);
  return finish(account, session, customer, person);
}
