// Events on their way: signed as Stripe signs them, sent again until they are taken, and held, doubled, lost or shuffled on order.

import { createHmac } from 'node:crypto';
import { request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { view } from './render.mjs';
import { seeded, shuffled } from './random.mjs';

const TIMEOUT_MS = 10_000;

const ORDERS = {
  /** Hold what happens until `release`. */
  hold: false,
  delayMs: 0,
  /** Of each hundred, by a seeded die. */
  duplicatePercent: 0,
  dropPercent: 0,
  seed: 1,
  attempts: 5,
  /** From one attempt to the next; the pause doubles. */
  retryMs: 500,
  /** Seconds added to the time in the signature, to play a stale or an early one. */
  skewSeconds: 0,
  concurrency: 8,
};

/** `t=…,v1=…`: https://docs.stripe.com/webhooks#verify-manually */
export function signature(payload, secrets, at) {
  const schemes = secrets.map((secret) => `v1=${createHmac('sha256', secret).update(`${at}.${payload}`).digest('hex')}`);
  return [`t=${at}`, ...schemes].join(',');
}

function post(url, headers, body) {
  return new Promise((resolve) => {
    const sent = request(url, { method: 'POST', headers, timeout: TIMEOUT_MS }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode)).on('error', () => resolve(0));
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer')));
    sent.on('error', () => resolve(0));
    sent.end(body);
  });
}

export class Webhooks {
  #account;

  #orders = { ...ORDERS };

  #random = seeded(ORDERS.seed);

  #held = [];

  #queue = [];

  #running = 0;

  #idle = [];

  /** What was tried: event, endpoint, status, attempt. */
  attempts = [];

  constructor(account) {
    this.#account = account;
  }

  get orders() {
    return this.#orders;
  }

  order(change) {
    const unknown = Object.keys(change).filter((key) => !(key in ORDERS));
    if (unknown.length > 0) throw new Error(`no such order: ${unknown.join(', ')}`);
    Object.assign(this.#orders, change);
    if ('seed' in change) this.#random = seeded(change.seed);
    return this.#orders;
  }

  interested(type) {
    return this.#account.store
      .all('webhook_endpoint')
      .filter(({ status, enabled_events: types }) => status === 'enabled' && (types.includes('*') || types.includes(type)));
  }

  send(event, endpoints) {
    for (const { id } of endpoints) {
      const delivery = { event: event.id, endpoint: id, attempt: 1 };
      if (this.#orders.hold) this.#held.push(delivery);
      else this.#dispatch(delivery);
    }
  }

  /** Deliveries that are held, oldest first. */
  get held() {
    return this.#held.map(({ event, endpoint }) => ({ event, endpoint, type: this.#account.store.get('event', event).type }));
  }

  /** Lets held deliveries go: all, or those of `events` in that order, or all shuffled by a seed, some of them twice. */
  release({ concurrency, ...which } = {}) {
    const batch = this.#choose(which);
    if (concurrency) this.#orders.concurrency = concurrency;
    batch.forEach((delivery) => this.#enqueue(delivery));
    return batch.length;
  }

  /** As `release`, but the deliveries are given, ready to be posted by who asks, and go nowhere else. */
  take(which) {
    return this.#choose(which).map((delivery) => {
      const { event, body, signature: signed } = this.#letter(delivery);
      event.pending_webhooks = Math.max(0, event.pending_webhooks - 1);
      return { event: event.id, type: event.type, endpoint: delivery.endpoint, signature: signed, body };
    });
  }

  #choose({ events, seed, duplicatePercent = 0, drop = [] } = {}) {
    let batch = this.#held;
    if (events) {
      const order = new Map(events.map((id, index) => [id, index]));
      batch = batch.filter(({ event }) => order.has(event)).sort((a, b) => order.get(a.event) - order.get(b.event));
    }
    this.#held = this.#held.filter((delivery) => !batch.includes(delivery));
    batch = batch.filter(({ event }) => !drop.includes(event));
    const random = seeded(seed ?? this.#orders.seed);
    batch = batch.flatMap((delivery) => (random() * 100 < duplicatePercent ? [delivery, { ...delivery }] : [delivery]));
    return seed === undefined ? batch : shuffled(batch, random);
  }

  /** Sends an event once more, to whom it was meant for. */
  resend(id) {
    const event = this.#account.store.get('event', id);
    const endpoints = this.interested(event.type);
    endpoints.forEach((endpoint) => this.#enqueue({ event: id, endpoint: endpoint.id, attempt: 1 }));
    return endpoints.length;
  }

  /** Resolves when nothing is on its way; what is held stays held. */
  settled() {
    if (this.#running === 0 && this.#queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }

  get underWay() {
    return this.#running + this.#queue.length;
  }

  #dispatch(delivery) {
    const { dropPercent, duplicatePercent } = this.#orders;
    if (dropPercent > 0 && this.#random() * 100 < dropPercent) return;
    this.#enqueue(delivery);
    if (duplicatePercent > 0 && this.#random() * 100 < duplicatePercent) this.#enqueue({ ...delivery });
  }

  #enqueue(delivery) {
    this.#queue.push(delivery);
    this.#pump();
  }

  #pump() {
    while (this.#running < this.#orders.concurrency && this.#queue.length > 0) {
      this.#running += 1;
      this.#deliver(this.#queue.shift()).finally(() => {
        this.#running -= 1;
        this.#pump();
        if (this.#running === 0 && this.#queue.length === 0) this.#idle.splice(0).forEach((resolve) => resolve());
      });
    }
  }

  /** What is sent of an event; nothing when its endpoint is gone. */
  #letter({ event: id, endpoint: to }) {
    const [event, endpoint] = [this.#account.store.find('event', id), this.#account.store.find('webhook_endpoint', to)];
    if (!event || !endpoint) return undefined;
    const body = JSON.stringify(view(this.#account, event), null, 2);
    // The machine's time, whatever the test clock says: as with the real one, a delivery is signed when it is sent.
    const at = Math.floor(Date.now() / 1000) + this.#orders.skewSeconds;
    return { event, endpoint, body, signature: signature(body, endpoint.$.secrets, at) };
  }

  async #deliver({ event: id, endpoint: to, attempt }) {
    if (this.#orders.delayMs > 0) await pause(this.#orders.delayMs);
    const letter = this.#letter({ event: id, endpoint: to });
    if (!letter) return;
    const { event, endpoint, body } = letter;
    const headers = {
      'content-type': 'application/json; charset=utf-8',
      'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)',
      'stripe-signature': letter.signature,
    };
    const status = await post(endpoint.url, headers, body);
    this.attempts.push({ event: id, type: event.type, endpoint: to, attempt, status });
    if (status >= 200 && status < 300) {
      event.pending_webhooks = Math.max(0, event.pending_webhooks - 1);
    } else if (attempt < this.#orders.attempts) {
      const wait = this.#orders.retryMs * 2 ** (attempt - 1);
      this.#running += 1;
      setTimeout(() => {
        this.#running -= 1;
        this.#enqueue({ event: id, endpoint: to, attempt: attempt + 1 });
      }, wait).unref();
    }
  }
}
