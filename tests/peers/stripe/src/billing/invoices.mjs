// Invoices: made as drafts, finalized, and what they add up to.

import { livingCustomer } from '../render.mjs';
import { wholeList } from '../store.mjs';
import { invalid } from '../wire/errors.mjs';
import { taxOf } from './tax.mjs';

/** Below this a card is not charged: the amount goes to the customer's balance. */
const LEAST_CHARGE = 50;

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Everything that follows from the lines and the customer's balance. */
export function reckon(account, invoice, customer) {
  const lines = invoice.lines.data;
  const tax = taxOf(account, invoice, customer);
  const subtotal = sum(lines.map(({ amount }) => amount));
  const taxed = tax ? sum(tax.map(({ amount }) => amount)) : 0;
  const total = subtotal + taxed;
  const balance = invoice.status === 'draft' ? customer.balance : invoice.starting_balance;
  // A negative balance is money that the customer has with us.
  const left = Math.max(0, total + balance);
  const due = left < LEAST_CHARGE ? 0 : left;
  Object.assign(invoice, {
    subtotal,
    subtotal_excluding_tax: subtotal,
    total,
    total_excluding_tax: subtotal,
    total_taxes: tax ?? [],
    starting_balance: balance,
    amount_due: due,
    amount_remaining: due - invoice.amount_paid,
  });
  invoice.$.balanceAfter = total + balance - due;
}

export function makeInvoice(account, { subscription, customer: customerId, lines, reason, period, at, preview = false }) {
  const customer = livingCustomer(account, customerId);
  const invoice = {
    object: 'invoice',
    account_country: account.settings.country,
    account_name: account.settings.name,
    account_tax_ids: null,
    amount_due: 0,
    amount_overpaid: 0,
    amount_paid: 0,
    amount_remaining: 0,
    amount_shipping: 0,
    application: null,
    attempt_count: 0,
    attempted: false,
    auto_advance: true,
    automatic_tax: {
      disabled_reason: null,
      enabled: subscription?.automatic_tax.enabled ?? false,
      liability: subscription?.automatic_tax.enabled ? { type: 'self' } : null,
      provider: subscription?.automatic_tax.enabled ? 'stripe' : null,
      status: subscription?.automatic_tax.enabled ? (customer.address?.country ? 'complete' : 'requires_location_inputs') : null,
    },
    automatically_finalizes_at: null,
    billing_reason: reason,
    collection_method: subscription?.collection_method ?? 'charge_automatically',
    created: at,
    currency: subscription?.currency ?? 'usd',
    custom_fields: null,
    customer: customer.id,
    customer_account: null,
    customer_address: customer.address,
    customer_email: customer.email,
    customer_name: customer.name,
    customer_phone: customer.phone,
    customer_shipping: null,
    customer_tax_exempt: customer.tax_exempt,
    customer_tax_ids: [],
    default_payment_method: null,
    default_source: null,
    default_tax_rates: [],
    description: null,
    discounts: [],
    due_date: null,
    effective_at: null,
    ending_balance: null,
    footer: null,
    from_invoice: null,
    hosted_invoice_url: null,
    invoice_pdf: null,
    issuer: { type: 'self' },
    last_finalization_error: null,
    latest_revision: null,
    lines: wholeList(lines, ''),
    livemode: false,
    metadata: {},
    next_payment_attempt: null,
    number: null,
    on_behalf_of: null,
    parent: subscription
      ? { quote_details: null, subscription_details: { metadata: { ...subscription.metadata }, subscription: subscription.id }, type: 'subscription_details' }
      : null,
    payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
    period_end: period.end,
    period_start: period.start,
    post_payment_credit_notes_amount: 0,
    pre_payment_credit_notes_amount: 0,
    receipt_number: null,
    rendering: null,
    shipping_cost: null,
    shipping_details: null,
    starting_balance: 0,
    statement_descriptor: null,
    status: 'draft',
    status_transitions: { finalized_at: null, marked_uncollectible_at: null, paid_at: null, voided_at: null },
    subtotal: 0,
    subtotal_excluding_tax: 0,
    test_clock: customer.test_clock,
    total: 0,
    total_discount_amounts: [],
    total_excluding_tax: 0,
    total_pretax_credit_amounts: [],
    total_taxes: [],
    webhooks_delivered_at: null,
    $: {},
  };
  if (preview) invoice.id = `upcoming_in_${account.token()}`;
  else account.store.add(invoice);
  invoice.lines.url = `/v1/invoices/${invoice.id}/lines`;
  for (const line of lines) line.invoice = invoice.id;
  reckon(account, invoice, customer);
  if (preview) invoice.ending_balance = invoice.$.balanceAfter;
  else account.emit('invoice.created', invoice);
  return invoice;
}

export const subscriptionOf = (account, invoice) => {
  const id = invoice.parent?.subscription_details?.subscription;
  return id ? account.store.find('subscription', id) : undefined;
};

/** Bills a draft: a number, an address, and the customer's balance is used up. Paid at once when nothing is due. */
export function finalize(account, invoice) {
  if (invoice.status !== 'draft') throw invalid('This invoice is already finalized, you can\'t re-finalize a non-draft invoice.', { code: 'invoice_not_editable' });
  const customer = livingCustomer(account, invoice.customer);
  const at = account.clockOf(customer).now;
  reckon(account, invoice, customer);
  account.invoiceNumber += 1;
  Object.assign(invoice, {
    status: 'open',
    number: `${customer.invoice_prefix}-${String(account.invoiceNumber).padStart(4, '0')}`,
    effective_at: at,
    ending_balance: invoice.$.balanceAfter,
    hosted_invoice_url: `${account.base}/i/${account.name}/${invoice.id}`,
    invoice_pdf: `${account.base}/i/${account.name}/${invoice.id}/pdf`,
    automatically_finalizes_at: null,
  });
  invoice.status_transitions.finalized_at = at;
  if (customer.balance !== invoice.$.balanceAfter) {
    account.change(customer, 'customer.updated', () => {
      customer.balance = invoice.$.balanceAfter;
    });
  }
  account.emit('invoice.finalized', invoice);
  if (invoice.amount_due === 0) markPaid(account, invoice);
  return invoice;
}

/** Sets an invoice paid and tells of it. Its subscription hears of it from `collection.mjs`. */
export function markPaid(account, invoice) {
  const at = account.clockOf(invoice.customer).now;
  account.change(invoice, 'invoice.updated', () => {
    Object.assign(invoice, {
      status: 'paid',
      amount_paid: invoice.amount_due,
      amount_remaining: 0,
      attempted: true,
      auto_advance: false,
      next_payment_attempt: null,
    });
    invoice.status_transitions.paid_at = at;
  });
  account.emit('invoice.paid', invoice);
  account.emit('invoice.payment_succeeded', invoice);
}

export function voidInvoice(account, invoice) {
  if (!['open', 'uncollectible'].includes(invoice.status)) throw invalid('You can only void an invoice that is open or uncollectible.', { code: 'invoice_not_editable' });
  invoice.status = 'void';
  invoice.auto_advance = false;
  invoice.next_payment_attempt = null;
  invoice.amount_remaining = 0;
  invoice.status_transitions.voided_at = account.clockOf(invoice.customer).now;
  account.emit('invoice.voided', invoice);
  return invoice;
}

export function markUncollectible(account, invoice) {
  if (invoice.status !== 'open') throw invalid('You can only mark an open invoice as uncollectible.', { code: 'invoice_not_editable' });
  Object.assign(invoice, { status: 'uncollectible', auto_advance: false, next_payment_attempt: null });
  invoice.status_transitions.marked_uncollectible_at = account.clockOf(invoice.customer).now;
  account.emit('invoice.marked_uncollectible', invoice);
  return invoice;
}
