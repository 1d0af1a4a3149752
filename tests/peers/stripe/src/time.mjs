// Clocks. What is due is done in the order of its time, with the clock standing at that time.

const HOUR = 3600;
export const DAY = 24 * HOUR;
export { HOUR };

/** The calendar month `count` after the anchor, on the anchor's day or the last of a shorter month, as Stripe counts. */
function addMonths(anchor, count) {
  const date = new Date(anchor * 1000);
  const first = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + count, 1));
  const days = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 0)).getUTCDate();
  first.setUTCDate(Math.min(date.getUTCDate(), days));
  return Math.floor(first.getTime() / 1000) + (anchor - Math.floor(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) / 1000));
}

/** `count` intervals after the anchor. */
export function later(anchor, { interval, interval_count: each }, count = 1) {
  const number = each * count;
  if (interval === 'month') return addMonths(anchor, number);
  if (interval === 'year') return addMonths(anchor, 12 * number);
  return anchor + number * (interval === 'week' ? 7 * DAY : DAY);
}

/** The first boundary of the billing cycle after a moment. */
export function nextBoundary(anchor, recurring, after) {
  const length = later(anchor, recurring) - anchor;
  let count = Math.max(0, Math.floor((after - anchor) / length) - 1);
  while (later(anchor, recurring, count) <= after) count += 1;
  return later(anchor, recurring, count);
}

export const wallClock = () => Math.floor(Date.now() / 1000);

/** Due work by time, then by order of arrival. A binary heap: a clock may hold thousands. */
class Agenda {
  #entries = [];

  #count = 0;

  get next() {
    return this.#entries[0];
  }

  add(at, kind, id) {
    const entries = this.#entries;
    entries.push({ at, order: this.#count++, kind, id });
    let child = entries.length - 1;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!before(entries[child], entries[parent])) break;
      [entries[child], entries[parent]] = [entries[parent], entries[child]];
      child = parent;
    }
  }

  take() {
    const entries = this.#entries;
    const first = entries[0];
    const last = entries.pop();
    if (entries.length > 0) {
      entries[0] = last;
      this.#sink();
    }
    return first;
  }

  #sink() {
    const entries = this.#entries;
    for (let parent = 0; ; ) {
      let least = parent;
      for (const child of [2 * parent + 1, 2 * parent + 2]) {
        if (child < entries.length && before(entries[child], entries[least])) least = child;
      }
      if (least === parent) return;
      [entries[least], entries[parent]] = [entries[parent], entries[least]];
      parent = least;
    }
  }

  toJSON() {
    return this.#entries.map(({ at, kind, id }) => [at, kind, id]);
  }
}

const before = (a, b) => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Goes with the machine's clock plus an offset, or stands still at a moment (a test clock always does). */
export class Clock {
  #agenda = new Agenda();

  #offset = 0;

  #still;

  constructor(still) {
    this.#still = still;
  }

  get now() {
    return this.#still ?? wallClock() + this.#offset;
  }

  get frozen() {
    return this.#still !== undefined;
  }

  /** Something to look at, not before `at`. What is looked at decides itself whether anything is due. */
  schedule(at, kind, id) {
    this.#agenda.add(at, kind, id);
  }

  /** Does what is due until `target` (by `perform(kind, id)`), then stands or goes on from there. */
  advance(target, perform, { freeze = this.frozen } = {}) {
    while (this.#agenda.next && this.#agenda.next.at <= target) {
      const { at, kind, id } = this.#agenda.take();
      this.#still = Math.max(at, this.#still ?? 0);
      perform(kind, id);
    }
    this.#still = freeze ? target : undefined;
    this.#offset = target - wallClock();
  }

  /** What has become due while time went by. */
  catchUp(perform) {
    if (!this.frozen && this.#agenda.next && this.#agenda.next.at <= this.now) {
      const offset = this.#offset;
      this.advance(this.now, perform);
      this.#offset = offset;
    }
  }

  toJSON() {
    return { offset: this.#offset, still: this.#still, agenda: this.#agenda };
  }

  static fromJSON({ offset, still, agenda }) {
    const clock = new Clock(still);
    clock.#offset = offset;
    for (const [at, kind, id] of agenda) clock.schedule(at, kind, id);
    return clock;
  }
}
