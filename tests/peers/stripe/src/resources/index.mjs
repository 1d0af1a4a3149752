// All routes of /v1 that the peer has.

import { routes as catalogue } from './catalogue.mjs';
import { routes as checkout } from './checkout.mjs';
import { routes as clocks } from './clocks.mjs';
import { routes as customers } from './customers.mjs';
import { routes as events } from './events.mjs';
import { routes as invoices } from './invoices.mjs';
import { routes as payments } from './payments.mjs';
import { routes as portal } from './portal.mjs';
import { routes as subscriptions } from './subscriptions.mjs';

/** `[method and path, parameters, handler(account, parameters, ids of the path)]` */
export const ROUTES = [...catalogue, ...checkout, ...clocks, ...customers, ...events, ...invoices, ...payments, ...portal, ...subscriptions];
