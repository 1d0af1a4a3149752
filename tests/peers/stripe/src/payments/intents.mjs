// Payment intents, their charges, refunds, and the setup intents by which a card is kept.

import { token } from '../store.mjs';
import { invalid } from '../wire/errors.mjs';
import { refusal } from './cards.mjs';

const secretOf = (id) => `${id}_secret_${token(25)}`;

export function makeIntent(account, { customer, amount, currency, description = null, metadata = {}, extra = {} }) {
  const intent = account.store.add({
    object: 'payment_intent',
    allowed_payment_method_types: null,
    amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: null,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic',
    client_secret: null,
    confirmation_method: 'automatic',
    created: account.clockOf(customer).now,
    currency,
    customer,
    customer_account: null,
    description,
    excluded_payment_method_types: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    managed_payments: null,
    metadata,
    next_action: null,
    on_behalf_of: null,
    payment_method: null,
    payment_method_configuration_details: null,
    payment_method_options: {},
    payment_method_types: ['card'],
    payment_record: null,
    processing: null,
    receipt_email: null,
    review: null,
    setup_future_usage: null,
    shipping: null,
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: 'requires_payment_method',
    transfer_data: null,
    transfer_group: null,
    ...extra,
  });
  intent.client_secret = secretOf(intent.id);
  account.emit('payment_intent.created', intent);
  return intent;
}

function makeCharge(account, intent, method, refused) {
  const { address_line1_check: line1, address_postal_code_check: postal, cvc_check: cvc } = method.card.checks;
  const { brand, country, exp_month, exp_year, fingerprint, funding, last4 } = method.card;
  const charge = account.store.add({
    object: 'charge',
    amount: intent.amount,
    amount_captured: refused ? 0 : intent.amount,
    amount_refunded: 0,
    application: null,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: null,
    billing_details: { ...method.billing_details },
    calculated_statement_descriptor: 'CAMARAD',
    captured: !refused,
    created: account.clockOf(intent.customer).now,
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: refused?.code ?? null,
    failure_message: refused?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: { ...intent.metadata },
    on_behalf_of: null,
    outcome: {
      advice_code: null,
      network_advice_code: null,
      network_decline_code: null,
      network_status: refused ? 'declined_by_network' : 'approved_by_network',
      reason: refused?.decline_code ?? null,
      risk_level: 'normal',
      seller_message: refused ? 'The bank did not return any further details with this decline.' : 'Payment complete.',
      type: refused ? 'issuer_declined' : 'authorized',
    },
    paid: !refused,
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: { card: { brand, checks: { address_line1_check: line1, address_postal_code_check: postal, cvc_check: cvc }, country, exp_month, exp_year, fingerprint, funding, last4, installments: null, mandate: null, network: brand, three_d_secure: null, wallet: null }, type: 'card' },
    radar_options: {},
    receipt_email: null,
    receipt_number: null,
    receipt_url: null,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: refused ? 'failed' : 'succeeded',
    transfer_data: null,
    transfer_group: null,
  });
  if (!refused) charge.receipt_url = `${account.base}/receipts/${charge.id}`;
  return charge;
}

/** Charges a card. Gives the refusal, or nothing when the money is there. */
export function confirm(account, intent, method) {
  const refused = refusal(method.$.number, 'charge');
  const charge = makeCharge(account, intent, method, refused);
  intent.latest_charge = charge.id;
  if (refused) {
    intent.last_payment_error = { charge: charge.id, ...refused, doc_url: `https://stripe.com/docs/error-codes/${refused.code}`, payment_method: { ...method, $: undefined }, type: 'card_error' };
    intent.payment_method = null;
    intent.status = 'requires_payment_method';
    account.emit('charge.failed', charge);
    account.emit('payment_intent.payment_failed', intent);
    return refused;
  }
  Object.assign(intent, { status: 'succeeded', amount_received: intent.amount, payment_method: method.id, last_payment_error: null });
  account.emit('charge.succeeded', charge);
  account.emit('payment_intent.succeeded', intent);
  return undefined;
}

export function cancelIntent(account, intent, reason = null) {
  if (!['requires_payment_method', 'requires_confirmation', 'requires_action', 'requires_capture'].includes(intent.status)) {
    throw invalid(`You cannot cancel this PaymentIntent because it has a status of ${intent.status}.`, { code: 'payment_intent_unexpected_state' });
  }
  Object.assign(intent, { status: 'canceled', canceled_at: account.clockOf(intent.customer).now, cancellation_reason: reason });
  account.emit('payment_intent.canceled', intent);
  return intent;
}

/** A card that is kept for later, as Checkout does for a trial. */
export function keepCard(account, customer, method, metadata = {}) {
  const intent = account.store.add({
    object: 'setup_intent',
    allowed_payment_method_types: null,
    application: null,
    automatic_payment_methods: null,
    cancellation_reason: null,
    client_secret: null,
    created: account.clockOf(customer).now,
    customer: customer.id,
    customer_account: null,
    description: null,
    excluded_payment_method_types: null,
    flow_directions: null,
    last_setup_error: null,
    latest_attempt: null,
    livemode: false,
    mandate: null,
    metadata,
    next_action: null,
    on_behalf_of: null,
    payment_method: method.id,
    payment_method_configuration_details: null,
    payment_method_options: {},
    payment_method_types: ['card'],
    single_use_mandate: null,
    status: 'succeeded',
    usage: 'off_session',
  });
  intent.client_secret = secretOf(intent.id);
  account.emit('setup_intent.created', intent);
  account.emit('setup_intent.succeeded', intent);
  return intent;
}

/** The bank takes a charge back; until it is closed (`won` or `lost`) nothing is decided. */
export function dispute(account, charge, { status = 'needs_response', amount }) {
  const known = account.store.all('dispute').find((entry) => entry.charge === charge.id);
  const made = known ?? account.store.add({
    object: 'dispute',
    amount: amount ?? charge.amount,
    balance_transactions: [],
    charge: charge.id,
    created: account.clockOf(charge.customer).now,
    currency: charge.currency,
    enhanced_eligibility_types: [],
    evidence: {},
    evidence_details: { due_by: null, has_evidence: false, past_due: false, submission_count: 0 },
    is_charge_refundable: false,
    livemode: false,
    metadata: {},
    payment_intent: charge.payment_intent,
    reason: 'fraudulent',
    status: 'needs_response',
  });
  charge.disputed = true;
  if (!known) account.emit('charge.dispute.created', { ...made });
  if (['won', 'lost'].includes(status) && made.status !== status) {
    made.status = status;
    account.emit('charge.dispute.closed', { ...made });
  }
  return made;
}

/** Gives back a charge or a part of it. */
export function refund(account, charge, { amount, reason = null, metadata = {} }) {
  if (charge.status !== 'succeeded') throw invalid(`Charge ${charge.id} has not been paid, so it cannot be refunded.`, { code: 'charge_not_refundable' });
  const left = charge.amount - charge.amount_refunded;
  if (left === 0) throw invalid(`Charge ${charge.id} has already been refunded.`, { code: 'charge_already_refunded' });
  const wanted = amount ?? left;
  if (wanted > left) {
    throw invalid(`Refund amount (${wanted}) is greater than unrefunded amount on charge (${left})`, { code: 'amount_too_large', param: 'amount' });
  }
  const made = account.store.add({
    object: 'refund',
    amount: wanted,
    balance_transaction: null,
    charge: charge.id,
    created: account.clockOf(charge.customer).now,
    currency: charge.currency,
    customer: charge.customer,
    customer_account: null,
    destination_details: { card: { reference_status: 'pending', reference_type: 'acquirer_reference_number', type: 'refund' }, type: 'card' },
    failure_balance_transaction: null,
    metadata,
    payment_intent: charge.payment_intent,
    payment_method: charge.payment_method,
    reason,
    receipt_number: null,
    source_transfer_reversal: null,
    status: 'succeeded',
    transfer_reversal: null,
  });
  const before = { amount_refunded: charge.amount_refunded, refunded: charge.refunded };
  charge.amount_refunded += wanted;
  charge.refunded = charge.amount_refunded === charge.amount;
  account.emit('charge.refunded', charge, before);
  account.emit('refund.created', { ...made });
  return made;
}
