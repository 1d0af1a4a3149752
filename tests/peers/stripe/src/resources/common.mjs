// Parameters that several resources share.

import { bool, clearable, id, int, list, metadata, object, oneOf, required, text, time, either } from '../wire/params.mjs';

export const CURRENCY = (value, param) => oneOf('usd', 'eur', 'gbp', 'chf')(String(value).toLowerCase(), param);

export const ADDRESS = object(Object.fromEntries(['city', 'country', 'line1', 'line2', 'postal_code', 'state'].map((key) => [key, clearable(text())])));

export const NO_ADDRESS = { city: null, country: null, line1: null, line2: null, postal_code: null, state: null };

export const AUTOMATIC_TAX = object({ enabled: required(bool), liability: object({ type: required(oneOf('self')) }) });

export const TRIAL_SETTINGS = object({
  end_behavior: required(object({ missing_payment_method: required(oneOf('cancel', 'create_invoice', 'pause')) })),
});

export const BILLING_MODE = object({ type: required(oneOf('classic', 'flexible')), flexible: object({ proration_discounts: oneOf('included', 'itemized') }) });

export const PRORATION = oneOf('always_invoice', 'create_prorations', 'none');

export const CANCELLATION_DETAILS = object({
  comment: clearable(text()),
  feedback: clearable(oneOf('customer_service', 'low_quality', 'missing_features', 'other', 'switched_service', 'too_complex', 'too_expensive', 'unused')),
});

export const ITEMS = list(
  object({ id, price: id, quantity: int({ min: 0 }), metadata, deleted: bool, clear_usage: bool }),
  20,
);

export const NOW_OR_TIME = either(oneOf('now'), time);

export const METADATA = metadata;
