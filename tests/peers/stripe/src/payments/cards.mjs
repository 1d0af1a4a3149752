// The test cards and test payment methods that Stripe documents: https://docs.stripe.com/testing

const generic = { code: 'card_declined', decline_code: 'generic_decline', message: 'Your card was declined.' };
const funds = { code: 'card_declined', decline_code: 'insufficient_funds', message: 'Your card has insufficient funds.' };
const expired = { code: 'expired_card', decline_code: 'expired_card', message: 'Your card has expired.' };
const cvc = { code: 'incorrect_cvc', decline_code: 'incorrect_cvc', message: "Your card's security code is incorrect." };
const processing = { code: 'processing_error', decline_code: 'processing_error', message: 'An error occurred while processing your card. Try again in a little bit.' };

/** number -> brand, what attaching it answers, what charging it answers. */
const CARDS = {
  4242424242424242: { brand: 'visa' },
  4000056655665556: { brand: 'visa', funding: 'debit' },
  5555555555554444: { brand: 'mastercard' },
  378282246310005: { brand: 'amex' },
  4000002760000016: { brand: 'visa', country: 'DE' },
  4000000000000341: { brand: 'visa', charge: generic },
  4000000000000002: { brand: 'visa', attach: generic },
  4000000000009995: { brand: 'visa', attach: funds },
  4000000000000069: { brand: 'visa', attach: expired },
  4000000000000127: { brand: 'visa', attach: cvc },
  4000000000000119: { brand: 'visa', attach: processing },
};

/** What stands for a card in API calls. */
const NAMED = {
  visa: '4242424242424242',
  visa_debit: '4000056655665556',
  mastercard: '5555555555554444',
  amex: '378282246310005',
  de: '4000002760000016',
  chargeCustomerFail: '4000000000000341',
  chargeDeclined: '4000000000000002',
  visa_chargeDeclined: '4000000000000002',
  chargeDeclinedInsufficientFunds: '4000000000009995',
  visa_chargeDeclinedInsufficientFunds: '4000000000009995',
  chargeDeclinedExpiredCard: '4000000000000069',
  chargeDeclinedIncorrectCvc: '4000000000000127',
  chargeDeclinedProcessingError: '4000000000000119',
};

/** The number behind `pm_card_visa` or `tok_visa`; nothing for another id. */
export function numberOf(name) {
  const found = /^(?:pm_card|tok)_(\w+)$/.exec(name);
  return found ? NAMED[found[1]] : undefined;
}

/** A card that is unknown is a card with a wrong number. */
export function cardOf(number) {
  const digits = String(number).replace(/[\s-]/g, '');
  return CARDS[digits] ? { number: digits, country: 'US', funding: 'credit', ...CARDS[digits] } : undefined;
}

export const INCORRECT_NUMBER = { code: 'incorrect_number', message: 'Your card number is incorrect.' };

/** Why attaching or charging this card is refused; nothing when it is not. */
export const refusal = (number, step) => {
  const card = cardOf(number);
  return step === 'charge' ? (card.charge ?? card.attach) : card.attach;
};
