// Changes that only hold once they are paid (`payment_behavior=pending_if_incomplete`).

import { HOUR } from '../time.mjs';
import { voidInvoice } from './invoices.mjs';

const LIFE_SECONDS = 23 * HOUR;

/** Notes a change, and the invoice that it waits for. `apply(subscription)` is kept as plain data: the items as they will be. */
export function notePending(account, subscription, items, invoice) {
  const { now } = account.clockOf(subscription.customer);
  account.change(subscription, 'customer.subscription.updated', () => {
    subscription.pending_update = {
      billing_cycle_anchor: null,
      expires_at: now + LIFE_SECONDS,
      subscription_items: items.map((item) => ({ ...item, $: undefined })),
      trial_end: null,
      trial_from_plan: null,
    };
    subscription.latest_invoice = invoice.id;
    subscription.$.pendingItems = items;
  });
  account.schedule(subscription, subscription.pending_update.expires_at);
}

export function applyPending(account, subscription) {
  account.change(subscription, 'customer.subscription.updated', () => {
    const { current_period_start: start, current_period_end: until } = subscription.items.data[0];
    subscription.items.data = subscription.$.pendingItems.map((item) => ({ ...item, current_period_start: start, current_period_end: until }));
    subscription.items.total_count = subscription.items.data.length;
    subscription.pending_update = null;
    subscription.$.pendingItems = undefined;
  });
  account.emit('customer.subscription.pending_update_applied', subscription);
}

export function expirePending(account, subscription) {
  const invoice = account.store.find('invoice', subscription.latest_invoice);
  account.change(subscription, 'customer.subscription.updated', () => {
    subscription.pending_update = null;
    subscription.$.pendingItems = undefined;
  });
  account.emit('customer.subscription.pending_update_expired', subscription);
  if (invoice?.status === 'open') voidInvoice(account, invoice);
}
