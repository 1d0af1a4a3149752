// A subscription's status, and its end.

/** Sets fields of a subscription and tells of what has changed. */
export function update(account, subscription, fields) {
  return account.change(subscription, 'customer.subscription.updated', () => Object.assign(subscription, fields));
}

export const setStatus = (account, subscription, status) => update(account, subscription, { status });

/** Bills of a subscription that are not settled are no longer collected by themselves. */
function stopCollecting(account, subscription) {
  for (const id of subscription.$.invoices) {
    const invoice = account.store.get('invoice', id);
    if (!['draft', 'open'].includes(invoice.status)) continue;
    account.change(invoice, 'invoice.updated', () => {
      invoice.auto_advance = false;
      invoice.next_payment_attempt = null;
      invoice.automatically_finalizes_at = null;
    });
  }
}

/** Ends a subscription now. */
export function end(account, subscription, { reason = 'cancellation_requested', details = {}, status = 'canceled' } = {}) {
  const { now } = account.clockOf(subscription.customer);
  Object.assign(subscription, {
    status,
    canceled_at: subscription.canceled_at ?? now,
    ended_at: now,
    pending_update: null,
  });
  subscription.cancellation_details = { ...subscription.cancellation_details, ...details, reason: subscription.cancellation_details.reason ?? reason };
  stopCollecting(account, subscription);
  account.emit(status === 'canceled' ? 'customer.subscription.deleted' : 'customer.subscription.updated', subscription);
  return subscription;
}
