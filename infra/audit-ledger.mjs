#!/usr/bin/env node
// Adds up exports of a ledger (GET /api/ledger/export), knowing nothing of the code that wrote them. README.md has the format.
//
//   node infra/audit-ledger.mjs export.ndjson [the-rest.ndjson …]
//
// Several files continue each other (?after=). Exit code 0: all of it adds up; 1: the first thing that does not is named.

import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

const AMOUNT = /^(-?)(\d+)(?:\.(\d{1,6}))?$/;

class Wrong extends Error {}

function micro(value, name) {
  const parts = typeof value === 'string' ? AMOUNT.exec(value) : null;
  if (!parts) throw new Wrong(`${name} is no amount: ${JSON.stringify(value)}`);
  const sum = BigInt(parts[2]) * 1000000n + BigInt((parts[3] ?? '').padEnd(6, '0'));
  return parts[1] ? -sum : sum;
}

function cbt(sum) {
  const size = sum < 0n ? -sum : sum;
  const part = String(size % 1000000n).padStart(6, '0').replace(/0+$/, '');
  return `${sum < 0n ? '-' : ''}${size / 1000000n}${part ? `.${part}` : ''}`;
}

function demand(holds, what) {
  if (!holds) throw new Wrong(what);
}

/** What is known of a ledger after the entries so far. */
class Ledger {
  account = null;
  seq = null;
  balance = 0n;
  held = 0n;
  fromTheFirst = false;
  operations = new Set();
  calls = new Map();
  expiring = 0n;
  expired = 0n;
  entries = 0;

  begin(header) {
    demand(header.type === 'ledger' && header.version === 1, 'this is no export of a ledger, version 1');
    demand(Number.isSafeInteger(header.after) && header.after >= 0, 'the header does not say after which entry it begins');
    if (this.account === null) {
      this.account = header.account;
      this.seq = header.after;
      this.fromTheFirst = header.after === 0;
    }
    demand(header.account === this.account, `this is another account's: ${header.account}`);
    demand(header.after === this.seq, `it begins after entry ${header.after}, and entry ${this.seq} was the last`);
    this.inFile = 0;
  }

  add(entry) {
    demand(entry.seq === this.seq + 1, `entry ${this.seq + 1} is missing: ${JSON.stringify(entry.seq)} comes after ${this.seq}`);
    const [delta, held, balance] = ['delta', 'held', 'balance'].map((name) => micro(entry[name], name));
    if (this.entries === 0 && !this.fromTheFirst) this.balance = balance - delta;
    demand(balance === this.balance + delta, `the balance is ${cbt(balance)}, and ${cbt(this.balance)} + ${cbt(delta)} is ${cbt(this.balance + delta)}`);
    demand(typeof entry.operation === 'string' && entry.operation !== '', 'it names no operation');
    demand(!this.operations.has(entry.operation), `the operation ${entry.operation} happened before`);
    this.operations.add(entry.operation);
    this.seq = entry.seq;
    this.entries += 1;
    this.inFile += 1;
    this.balance = balance;
    this.held += held;
    this.rules(entry, delta, held);
    demand(balance >= 0n, `the balance is below zero: ${cbt(balance)}`);
    if (!this.fromTheFirst) return;
    demand(this.held >= 0n, `less than nothing is held: ${cbt(this.held)}`);
    demand(balance >= this.held, `more is held (${cbt(this.held)}) than there is (${cbt(balance)})`);
  }

  rules(entry, delta, held) {
    const call = entry.callId;
    const ends = call !== undefined && entry.operation === `end:${call}`;
    switch (entry.type) {
      case 'grant':
        demand(delta > 0n && held === 0n, 'a grant brings more than nothing and holds nothing');
        if (entry.expiresAt !== undefined) this.expiring += delta;
        return;
      case 'hold':
        demand(entry.operation === `hold:${call}`, 'a hold is of a call');
        demand(delta === 0n && held > 0n, 'a hold changes no balance and holds more than nothing');
        this.calls.set(call, { held, consumed: 0n, refunded: 0n, ended: false });
        return;
      case 'consume':
        demand(delta < 0n, 'a consumption takes more than nothing');
        if (ends) this.end(call, delta, held);
        else demand(held === 0n && call === undefined, 'a consumption without a hold frees none');
        return;
      case 'release':
        demand(ends && delta === 0n, 'a release ends a hold and takes nothing');
        this.end(call, delta, held);
        return;
      case 'expire':
        if (ends) {
          demand(delta === 0n, 'a hold that expired takes nothing');
          this.end(call, delta, held);
        } else this.lot(entry, delta, held);
        return;
      case 'refund':
        demand(delta > 0n && held === 0n && entry.operation.startsWith(`refund:${call}:`), 'a refund brings back what a call was charged');
        this.refund(call, delta);
        return;
      case 'adjust':
        demand(delta <= 0n && held === 0n && call === undefined, 'an adjustment takes back, and holds nothing');
        return;
      default:
        throw new Wrong(`nobody knows the type ${JSON.stringify(entry.type)}`);
    }
  }

  end(call, delta, held) {
    const known = this.calls.get(call);
    if (known === undefined) {
      demand(!this.fromTheFirst, `no hold of ${call} was made`);
      this.calls.set(call, { held: -held, consumed: -delta, refunded: 0n, ended: true });
      return;
    }
    demand(!known.ended, `the hold of ${call} ended before`);
    demand(held === -known.held, `${cbt(known.held)} was held and ${cbt(-held)} is freed`);
    demand(-delta <= known.held, `${cbt(-delta)} is charged, and ${cbt(known.held)} was held`);
    known.ended = true;
    known.consumed = -delta;
  }

  refund(call, delta) {
    const known = this.calls.get(call);
    if (known === undefined) {
      demand(!this.fromTheFirst, `no call ${call} was charged`);
      return;
    }
    known.refunded += delta;
    demand(known.ended && known.refunded <= known.consumed, `${cbt(known.refunded)} is refunded, and ${call} was charged ${cbt(known.consumed)}`);
  }

  lot(entry, delta, held) {
    const at = /^expire:(\d+):\d+$/.exec(entry.operation);
    demand(at && delta < 0n && held === 0n, 'what expires is a hold or a grant');
    demand(Date.parse(entry.at) >= Number(at[1]) * 1000, 'it expired before its time');
    this.expired -= delta;
    if (this.fromTheFirst) demand(this.expired <= this.expiring, `${cbt(this.expired)} expired, and only ${cbt(this.expiring)} was granted for a time`);
  }

  finish(footer) {
    demand(footer.entries === this.inFile, `the last line tells of ${footer.entries} entries, and there are ${this.inFile}`);
    demand(footer.last === this.seq, `the last line says that entry ${footer.last} is the last, and ${this.seq} is`);
    const [balance, held, available] = ['balance', 'held', 'available'].map((name) => micro(footer[name], name));
    if (this.entries > 0 || this.fromTheFirst) {
      demand(balance === this.balance, `the last line says a balance of ${cbt(balance)}, and the entries add up to ${cbt(this.balance)}`);
    }
    demand(available === balance - held, 'what is available is the balance without what is held');
    if (this.fromTheFirst) demand(held === this.held, `the last line says that ${cbt(held)} is held, and it is ${cbt(this.held)}`);
  }
}

async function read(path, ledger) {
  let number = 0;
  let state = 'header';
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
      number += 1;
      let line;
      try {
        line = JSON.parse(text);
      } catch {
        throw new Wrong('this is no JSON: the file was cut or changed');
      }
      demand(state !== 'end', 'something comes after the last line');
      if (state === 'header') {
        ledger.begin(line);
        state = 'entries';
      } else if (line.type === 'end') {
        ledger.finish(line);
        state = 'end';
      } else {
        ledger.add(line);
      }
    }
    demand(state === 'end', 'the last line is missing: the file was cut');
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    throw new Wrong(`${path}:${number}: ${error.message}`);
  }
}

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error('usage: node infra/audit-ledger.mjs export.ndjson [the-rest.ndjson …]');
  process.exit(2);
}
try {
  const ledger = new Ledger();
  for (const file of files) await read(file, ledger);
  console.log(`${ledger.entries} entries add up: balance ${cbt(ledger.balance)} cbT${ledger.fromTheFirst ? `, held ${cbt(ledger.held)} cbT` : ''}`);
} catch (error) {
  console.error(error instanceof Wrong ? error.message : `cannot read: ${error.message}`);
  process.exit(1);
}
