// Who looks, by kind of object, whether something is due.

import { sessionDue } from './checkout.mjs';
import { invoiceDue } from './collection.mjs';
import { subscriptionDue } from './periods.mjs';

export const DUE = { subscription: subscriptionDue, invoice: invoiceDue, 'checkout.session': sessionDue };
