// Refusals in the shape of Stripe's: https://docs.stripe.com/api/errors

const DOCS = 'https://stripe.com/docs/error-codes/';

/** An answer other than 2xx. `extra` goes into the error object beside type, code, param and message. */
export class StripeError extends Error {
  constructor(status, type, message, { code, param, ...extra } = {}) {
    super(message);
    this.status = status;
    this.error = {
      ...(code && { code, doc_url: DOCS + code.replaceAll('_', '-') }),
      message,
      ...(param && { param }),
      type,
      ...extra,
    };
  }
}

export const invalid = (message, details) => new StripeError(400, 'invalid_request_error', message, details);

export const unknownParameter = (param) => invalid(`Received unknown parameter: ${param}`, { code: 'parameter_unknown', param });

export const missingParameter = (param) => invalid(`Missing required param: ${param}.`, { code: 'parameter_missing', param });

/** Status 404 for what the URL names, 400 for what a parameter names. */
export const noSuch = (kind, id, param) =>
  new StripeError(param ? 400 : 404, 'invalid_request_error', `No such ${kind}: '${id}'`, {
    code: 'resource_missing',
    param: param ?? 'id',
  });

export const unauthorized = (message, code) => new StripeError(401, 'invalid_request_error', message, code ? { code } : {});

const idempotency = (status, message) => new StripeError(status, 'idempotency_error', message);

export const otherParameters = (key) =>
  idempotency(
    400,
    `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`,
  );

export const stillRunning = (key) =>
  new StripeError(
    409,
    'idempotency_error',
    `There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): ${key}. Please try again later.`,
    { code: 'idempotency_key_in_use' },
  );

/** A refused card: status 402. `decline` is what `cards.mjs` says about the card. */
export const declined = (decline, extra = {}) =>
  new StripeError(402, 'card_error', decline.message, {
    code: decline.code,
    ...(decline.decline_code && { decline_code: decline.decline_code }),
    ...extra,
  });
