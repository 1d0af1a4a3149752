// https://docs.stripe.com/api/customer_portal

import { livingCustomer } from '../render.mjs';
import { invalid } from '../wire/errors.mjs';
import { PAGE, bool, clearable, id, int, list, mergeMetadata, metadata, object, oneOf, required, text } from '../wire/params.mjs';
import { PRORATION } from './common.mjs';

const REASONS = ['customer_service', 'low_quality', 'missing_features', 'other', 'switched_service', 'too_complex', 'too_expensive', 'unused'];

const FEATURES = object({
  customer_update: object({ allowed_updates: clearable(list(oneOf('address', 'email', 'name', 'phone', 'shipping', 'tax_id'))), enabled: bool }),
  invoice_history: object({ enabled: required(bool) }),
  payment_method_update: object({ enabled: required(bool) }),
  subscription_cancel: object({
    cancellation_reason: object({ enabled: required(bool), options: clearable(list(oneOf(...REASONS))) }),
    enabled: required(bool),
    mode: oneOf('at_period_end', 'immediately'),
    proration_behavior: PRORATION,
  }),
  subscription_update: object({
    default_allowed_updates: clearable(list(oneOf('price', 'promotion_code', 'quantity'))),
    enabled: bool,
    products: clearable(list(object({ product: required(id), prices: required(list(id)), adjustable_quantity: object({ enabled: required(bool), maximum: int(), minimum: int() }) }))),
    proration_behavior: PRORATION,
  }),
});

const PROFILE = clearable(object({ headline: clearable(text(60)), privacy_policy_url: text(2048), terms_of_service_url: text(2048) }));

const CONFIGURATION = { business_profile: PROFILE, default_return_url: clearable(text(5000)), features: FEATURES, login_page: object({ enabled: required(bool) }), metadata, name: clearable(text(200)) };

/** The features with everything that was not asked for as it is by default. */
function features(asked = {}, before) {
  const { customer_update: update = {}, subscription_cancel: cancel = {}, subscription_update: change = {} } = asked;
  const old = before ?? {
    customer_update: { allowed_updates: [], enabled: false },
    invoice_history: { enabled: false },
    payment_method_update: { enabled: false, payment_method_configuration: null },
    subscription_cancel: { cancellation_reason: { enabled: false, options: [] }, enabled: false, mode: 'at_period_end', proration_behavior: 'none' },
    subscription_update: {
      billing_cycle_anchor: null,
      default_allowed_updates: [],
      enabled: false,
      products: null,
      proration_behavior: 'none',
      schedule_at_period_end: { conditions: [] },
      trial_update_behavior: 'end_trial',
    },
  };
  return {
    customer_update: { ...old.customer_update, ...update, allowed_updates: update.allowed_updates ?? old.customer_update.allowed_updates },
    invoice_history: { ...old.invoice_history, ...asked.invoice_history },
    payment_method_update: { ...old.payment_method_update, ...asked.payment_method_update },
    subscription_cancel: {
      ...old.subscription_cancel,
      ...cancel,
      cancellation_reason: { ...old.subscription_cancel.cancellation_reason, ...cancel.cancellation_reason, options: cancel.cancellation_reason?.options ?? old.subscription_cancel.cancellation_reason.options },
    },
    subscription_update: { ...old.subscription_update, ...change, default_allowed_updates: change.default_allowed_updates ?? old.subscription_update.default_allowed_updates },
  };
}

const profile = (asked, before) => ({ headline: null, privacy_policy_url: null, terms_of_service_url: null, ...before, ...asked });

function configure(account, asked) {
  const at = account.clock.now;
  const made = account.store.add({
    object: 'billing_portal.configuration',
    active: true,
    application: null,
    business_profile: profile(asked.business_profile),
    created: at,
    default_return_url: asked.default_return_url ?? null,
    features: features(asked.features),
    is_default: account.store.all('billing_portal.configuration').length === 0,
    livemode: false,
    login_page: { enabled: asked.login_page?.enabled ?? false, url: null },
    metadata: asked.metadata ?? {},
    name: asked.name ?? null,
    updated: at,
  });
  account.emit('billing_portal.configuration.created', made);
  return made;
}

function reconfigure(account, configuration, { active, business_profile: business, features: wanted, login_page: _, metadata: marks, ...plain }) {
  return account.change(configuration, 'billing_portal.configuration.updated', () => {
    Object.assign(configuration, plain, active !== undefined && { active });
    if (business !== undefined) configuration.business_profile = profile(business, configuration.business_profile);
    configuration.features = features(wanted, configuration.features);
    configuration.metadata = mergeMetadata(configuration.metadata, marks);
    configuration.updated = account.clock.now;
  });
}

function open(account, { customer, configuration, return_url: back, locale }) {
  const owner = livingCustomer(account, customer, 'customer');
  const chosen = configuration
    ? account.store.get('billing_portal.configuration', configuration, 'configuration')
    : account.store.all('billing_portal.configuration').find(({ is_default: standard }) => standard);
  if (!chosen?.active) {
    throw invalid('No configuration provided and your test mode default configuration has not been created. Provide a configuration or create your default by saving your customer portal settings in test mode at https://dashboard.stripe.com/test/settings/billing/portal.');
  }
  const session = account.store.add({
    object: 'billing_portal.session',
    configuration: chosen.id,
    created: account.clockOf(owner).now,
    customer: owner.id,
    customer_account: null,
    flow: null,
    livemode: false,
    locale: locale ?? null,
    on_behalf_of: null,
    return_url: back ?? chosen.default_return_url,
    url: '',
  });
  session.url = `${account.base}/p/session/${account.name}/${session.id}`;
  account.emit('billing_portal.session.created', session);
  return session;
}

const found = (account, { id: key }) => account.store.get('billing_portal.configuration', key);

export const routes = [
  ['POST /v1/billing_portal/configurations', { ...CONFIGURATION, features: required(FEATURES) }, configure],
  [
    'GET /v1/billing_portal/configurations',
    { ...PAGE, active: bool, is_default: bool },
    (account, { active, is_default: standard, ...paging }) =>
      account.store.page('billing_portal.configuration', paging, '/v1/billing_portal/configurations', (entry) =>
        (active === undefined || entry.active === active) && (standard === undefined || entry.is_default === standard)),
  ],
  ['GET /v1/billing_portal/configurations/:id', {}, (account, _, ids) => found(account, ids)],
  ['POST /v1/billing_portal/configurations/:id', { ...CONFIGURATION, active: bool }, (account, asked, ids) => reconfigure(account, found(account, ids), asked)],
  ['POST /v1/billing_portal/sessions', { configuration: id, customer: required(id), locale: text(10), return_url: text(5000) }, open],
];
