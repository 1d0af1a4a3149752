// https://docs.stripe.com/api/test_clocks

import { end } from '../billing/state.mjs';
import { Clock, DAY } from '../time.mjs';
import { invalid } from '../wire/errors.mjs';
import { PAGE, required, text, time } from '../wire/params.mjs';

const found = (account, { id: key }) => account.store.get('test_helpers.test_clock', key);

function create(account, { frozen_time: at, name = null }) {
  const made = account.store.add({
    object: 'test_helpers.test_clock',
    created: account.clock.now,
    deletes_after: account.clock.now + 30 * DAY,
    frozen_time: at,
    livemode: false,
    name,
    status: 'ready',
    status_details: {},
  });
  account.testClocks.set(made.id, new Clock(at));
  account.emit('test_helpers.test_clock.created', made);
  return made;
}

/** All that is due is done before this answers, so the clock is `ready` at once. */
function advance(account, { frozen_time: at }, ids) {
  const clock = found(account, ids);
  if (at <= clock.frozen_time) throw invalid('frozen_time must be after the current frozen_time of the test clock.', { param: 'frozen_time' });
  account.testClocks.get(clock.id).advance(at, account.perform);
  account.change(clock, 'test_helpers.test_clock.ready', () => {
    clock.frozen_time = at;
  });
  return clock;
}

/** With the clock go its customers. */
function remove(account, clock) {
  for (const customer of account.store.all('customer').filter(({ test_clock: key }) => key === clock.id)) {
    for (const subscription of account.store.all('subscription').filter((entry) => entry.customer === customer.id)) {
      if (!['canceled', 'incomplete_expired'].includes(subscription.status)) end(account, subscription);
    }
    account.emit('customer.deleted', customer);
    account.store.remove('customer', customer.id);
  }
  account.testClocks.delete(clock.id);
  account.store.remove('test_helpers.test_clock', clock.id);
  account.emit('test_helpers.test_clock.deleted', clock);
  return { id: clock.id, object: 'test_helpers.test_clock', deleted: true };
}

export const routes = [
  ['POST /v1/test_helpers/test_clocks', { frozen_time: required(time), name: text(300) }, create],
  ['GET /v1/test_helpers/test_clocks', PAGE, (account, paging) => account.store.page('test_helpers.test_clock', paging, '/v1/test_helpers/test_clocks')],
  ['GET /v1/test_helpers/test_clocks/:id', {}, (account, _, ids) => found(account, ids)],
  ['POST /v1/test_helpers/test_clocks/:id/advance', { frozen_time: required(time) }, advance],
  ['DELETE /v1/test_helpers/test_clocks/:id', {}, (account, _, ids) => remove(account, found(account, ids))],
];
