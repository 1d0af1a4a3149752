// The accounts of a process, by secret key: `sk_test_<account>`. A key that nobody has used opens a new account.

import { readFileSync, renameSync, writeFileSync } from 'node:fs';

import { Account } from './account.mjs';
import { Api } from './api.mjs';
import { unauthorized } from './wire/errors.mjs';

const KEY = /^(?:sk|rk)_test_([A-Za-z0-9_]{1,100})$/;
/** So that there is a key that is always wrong, whatever account it would be. */
const NOBODY = /^wrong/;

const shown = (key) => `${key.slice(0, 8)}${'*'.repeat(Math.max(4, key.length - 12))}${key.slice(-4)}`;

/** The key of a request: bearer, or the user of HTTP Basic. */
function keyOf(header) {
  const [scheme, value = ''] = (header ?? '').split(' ');
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() === 'basic') return Buffer.from(value, 'base64').toString('utf8').split(':')[0];
  return '';
}

export class Accounts {
  #known = new Map();

  constructor(base, file) {
    this.base = base;
    this.file = file;
    if (file) this.#load();
  }

  /** The account of a request, with the API that remembers its calls. */
  ofRequest(header) {
    const key = keyOf(header);
    if (!key) {
      throw unauthorized("You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').");
    }
    const name = KEY.exec(key)?.[1];
    if (!name || NOBODY.test(name)) throw unauthorized(`Invalid API Key provided: ${shown(key)}`);
    const found = this.named(name) ?? this.#open(name);
    if (found.account.revoked) throw unauthorized(`Expired API Key provided: ${shown(key)}`, 'api_key_expired');
    return found;
  }

  named(name) {
    return this.#known.get(name);
  }

  #open(name, state) {
    const account = new Account(name, { base: this.base, state });
    const opened = { account, api: new Api(account) };
    this.#known.set(name, opened);
    return opened;
  }

  forget(name) {
    this.#known.delete(name);
    return {};
  }

  /** Time goes by in all of them. */
  tick() {
    for (const { account } of this.#known.values()) account.catchUp();
  }

  #load() {
    let text;
    try {
      text = readFileSync(this.file, 'utf8');
    } catch (error) {
      if (error.code === 'ENOENT') return;
      throw error;
    }
    for (const state of JSON.parse(text)) this.#open(state.name, state);
  }

  /** Never half a file: the new one takes the place of the old. */
  save() {
    if (!this.file) return;
    writeFileSync(`${this.file}.new`, JSON.stringify([...this.#known.values()].map(({ account }) => account)));
    renameSync(`${this.file}.new`, this.file);
  }
}
