// Lines of invoices: a period of a plan, and what a change within a period gives back or asks for.

import { newId } from '../store.mjs';

const day = (at) => new Intl.DateTimeFormat('en-GB', { day: '2-digit', month: 'short', year: 'numeric', timeZone: 'UTC' }).format(new Date(at * 1000));
const money = (amount) => `$${(amount / 100).toFixed(2)}`;

export const priceOf = (account, item) => account.store.get('price', item.price);

const productName = (account, price) => account.store.get('product', price.product).name;

/** What an item costs for a whole period. */
export const amountOf = (account, item) => priceOf(account, item).unit_amount * item.quantity;

export function makeLine(account, { subscription, item, price, quantity, amount, description, period, proration, invoiceItem = null }) {
  return {
    id: newId('line_item'),
    object: 'line_item',
    amount,
    currency: price.currency,
    description,
    discount_amounts: [],
    discountable: !proration,
    discounts: [],
    invoice: null,
    livemode: false,
    metadata: { ...subscription.metadata },
    parent: {
      invoice_item_details: null,
      subscription_item_details: {
        invoice_item: invoiceItem,
        proration,
        proration_details: proration ? { credited_items: null } : null,
        subscription: subscription.id,
        subscription_item: item.id,
      },
      type: 'subscription_item_details',
    },
    period,
    pretax_credit_amounts: [],
    pricing: {
      price_details: { price: price.id, product: price.product },
      type: 'price_details',
      unit_amount_decimal: String(quantity ? amount / quantity : amount),
    },
    quantity,
    quantity_decimal: String(quantity),
    subscription: subscription.id,
    subtotal: amount,
    taxes: [],
  };
}

/** The line of one period of one item; free while it is a trial. */
export function periodLine(account, subscription, item, period, trial) {
  const price = priceOf(account, item);
  const name = productName(account, price);
  return makeLine(account, {
    subscription,
    item,
    price,
    quantity: item.quantity,
    amount: trial ? 0 : price.unit_amount * item.quantity,
    description: trial ? `Trial period for ${name}` : `${item.quantity} × ${name} (at ${money(price.unit_amount)} / ${price.recurring.interval})`,
    period,
    proration: false,
  });
}

/** The part of an amount for the rest of a period, rounded to the cent as Stripe rounds. */
const share = (amount, period, at) => {
  const whole = period.end - period.start;
  return whole === 0 ? 0 : Math.round((amount * (period.end - Math.max(at, period.start))) / whole);
};

/**
 * What an item has been billed for, and is still to have. In flexible billing what a change gives back follows from what
 * was debited; in classic billing from the price that the item has now.
 */
function debitsOf(account, subscription, item, period) {
  if (subscription.billing_mode.type === 'classic') {
    const amount = subscription.status === 'trialing' ? 0 : amountOf(account, item);
    return [{ amount, quantity: item.quantity, price: item.price, ...period }];
  }
  return item.$.debits;
}

function credit(account, subscription, item, debit, at) {
  const price = account.store.get('price', debit.price);
  return makeLine(account, {
    subscription,
    item,
    price,
    quantity: debit.quantity,
    amount: -share(debit.amount, debit, at) || 0,
    description: `Unused time on ${productName(account, price)} after ${day(at)}`,
    period: { start: at, end: debit.end },
    proration: true,
    invoiceItem: newId('invoiceitem'),
  });
}

/**
 * The lines of a change at a moment: for each item that is different, what was paid for the rest of the period comes back,
 * and the rest of the period at the new price is asked for. `after` are the items as they will be.
 */
export function prorations(account, subscription, after, period, at) {
  const credits = [];
  const charges = [];
  const free = subscription.status === 'trialing';
  for (const old of subscription.items.data) {
    const next = after.find(({ id }) => id === old.id);
    if (next && next.price === old.price && next.quantity === old.quantity) continue;
    for (const debit of debitsOf(account, subscription, old, period)) {
      if (debit.end > at) credits.push(credit(account, subscription, old, debit, at));
    }
  }
  for (const next of after) {
    const old = subscription.items.data.find(({ id }) => id === next.id);
    if (old && next.price === old.price && next.quantity === old.quantity) continue;
    const price = priceOf(account, next);
    const rest = { start: at, end: period.end };
    charges.push(
      makeLine(account, {
        subscription,
        item: next,
        price,
        quantity: next.quantity,
        amount: free ? 0 : share(amountOf(account, next), period, at),
        description: `Remaining time on ${productName(account, price)} after ${day(at)}`,
        period: rest,
        proration: true,
        invoiceItem: newId('invoiceitem'),
      }),
    );
  }
  return { credits, charges };
}

/** Notes what an item has now been debited for. */
export function noteDebit(item, period, amount) {
  item.$.debits = [{ amount, quantity: item.quantity, price: item.price, start: period.start, end: period.end }];
}
