// Stripe Tax in one figure: a rate per country, set by `POST /_peer/settings`, on top of the price.

/** `total_taxes` of an invoice; nothing where tax is off or the country is not known. */
export function taxOf(account, invoice, customer) {
  if (!invoice.automatic_tax.enabled) return undefined;
  const percent = account.settings.taxPercent?.[customer.address?.country];
  if (percent === undefined) return [];
  const base = invoice.lines.data.reduce((total, { amount }) => total + amount, 0);
  return [
    {
      amount: Math.round((base * percent) / 100),
      tax_behavior: 'exclusive',
      tax_rate_details: null,
      taxability_reason: 'standard_rated',
      taxable_amount: base,
      type: 'tax_rate_details',
    },
  ];
}
