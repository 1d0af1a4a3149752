// One Stripe account: its objects, clocks, events, webhook endpoints. Accounts know nothing of each other.

import { randomUUID } from 'node:crypto';

import { DUE } from './billing/due.mjs';
import { changed, view } from './render.mjs';
import { Store } from './store.mjs';
import { Clock } from './time.mjs';
import { API_VERSION } from './version.mjs';
import { Webhooks } from './webhooks.mjs';


/** What a person sets in the dashboard, here by `POST /_peer/settings`. */
const SETTINGS = {
  country: 'US',
  name: 'Camarad (local)',
  /** Seconds for which the invoice of a renewal is a draft. */
  draftSeconds: 3600,
  /** Days from one attempt to collect an invoice to the next, and what becomes of the subscription after the last. */
  retryDays: [3, 5, 7],
  afterRetries: 'cancel',
};

export class Account {
  constructor(name, { base, state } = {}) {
    this.name = name;
    this.base = base;
    this.settings = { ...SETTINGS, ...state?.settings };
    this.store = state ? Store.fromJSON(state.store) : new Store();
    this.clock = state ? Clock.fromJSON(state.clock) : new Clock();
    this.testClocks = new Map(Object.entries(state?.testClocks ?? {}).map(([id, clock]) => [id, Clock.fromJSON(clock)]));
    this.invoiceNumber = state?.invoiceNumber ?? 0;
    this.webhooks = new Webhooks(this);
    this.request = undefined;
    this.revoked = false;
  }

  /** The clock by which a customer lives. */
  clockOf(customer) {
    const found = typeof customer === 'string' ? this.store.find('customer', customer) : customer;
    return this.testClocks.get(found?.test_clock) ?? this.clock;
  }

  /** Looks whether anything of an object is due. */
  perform = (kind, id) => {
    const object = this.store.find(kind, id);
    if (object) DUE[kind](this, object);
  };

  schedule(object, at) {
    if (at !== null && at !== undefined) this.clockOf(object.customer).schedule(at, object.object, object.id);
  }

  /** Looks at the time. Test clocks only move when they are told to. */
  catchUp() {
    this.clock.catchUp(this.perform);
  }

  /** Tells of something that happened to an object, as it is now. */
  emit(type, object, previous) {
    const endpoints = this.webhooks.interested(type);
    const event = this.store.add({
      object: 'event',
      api_version: API_VERSION,
      created: this.clockOf(object.object === 'customer' ? object : (object.$?.customer ?? object.customer)).now,
      data: { object: view(this, object), ...(previous && { previous_attributes: previous }) },
      livemode: false,
      pending_webhooks: endpoints.length,
      request: { id: this.request?.id ?? null, idempotency_key: this.request?.idempotencyKey ?? null },
      type,
    });
    this.webhooks.send(event, endpoints);
    return event;
  }

  /** Changes an object and tells of it, if anything is different afterwards. */
  change(object, type, mutate) {
    const before = view(this, object);
    mutate(object);
    const previous = changed(before, view(this, object));
    if (previous) this.emit(type, object, previous);
    return object;
  }

  token() {
    return randomUUID().replaceAll('-', '');
  }

  toJSON() {
    const { name, settings, store, clock, invoiceNumber } = this;
    return { name, settings, store, clock, invoiceNumber, testClocks: Object.fromEntries(this.testClocks) };
  }
}
