import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { setUp } from '../../../../infra/stripe/setup.mjs';
import { base, client, usePeer } from './stripe.mjs';

usePeer();

const catalogue = JSON.parse(readFileSync(new URL('../../../../infra/stripe/catalogue.json', import.meta.url), 'utf8'));

describe('make stripe-setup', () => {
  it('makes what is sold, and at the second run nothing', async () => {
    const { stripe, key } = client();
    const webhook = 'http://127.0.0.1:9/api/billing/webhook';
    const first = await setUp({ api: base(), key, webhook, catalogue });
    assert.equal(first.made.length, 2 * 6 + 2);
    assert.match(first.webhook.secret, /^whsec_/);
    const again = await setUp({ api: base(), key, webhook, catalogue });
    assert.deepEqual(again.made, []);
    assert.deepEqual(again.prices, first.prices);
    const found = await stripe.prices.list({ lookup_keys: ['camarad_agency_monthly'], active: true });
    assert.deepEqual([found.data.length, found.data[0].unit_amount, found.data[0].recurring.interval], [1, 14_900, 'month']);
  });

  it('moves a lookup key to a price with the new amount', async () => {
    const { stripe, key } = client();
    const before = await setUp({ api: base(), key, catalogue });
    const dearer = { ...catalogue, plans: catalogue.plans.map((plan) => (plan.id === 'personal' ? { ...plan, priceCents: 1500 } : plan)) };
    const after = await setUp({ api: base(), key, catalogue: dearer });
    assert.equal(after.made.length, 2);
    assert.notEqual(after.prices.camarad_personal_monthly, before.prices.camarad_personal_monthly);
    const old = await stripe.prices.retrieve(before.prices.camarad_personal_monthly);
    assert.deepEqual([old.active, old.lookup_key], [false, null]);
  });
});
