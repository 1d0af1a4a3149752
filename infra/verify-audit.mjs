#!/usr/bin/env node
// Checks an exported audit log (NDJSON) offline, with nothing of the service and nothing but Node: `make verify-audit`.
//
//   node infra/verify-audit.mjs [--keys FILE] [--anchors FILE] [--now TIME] EXPORT...
//
// --keys     trusted public keys, one per line, as statements name them, or what /.well-known/audit-keys.json answered; else the key in the file is printed, to be
//            compared with the one in the sealer's log.
// --anchors  lines of the sealer's log (CloudWatch: /aws/lambda/<stack>-audit-sealer); each statement of this chain in
//            it must fit.
// --now      the time, where the machine's own is wrong.
//
// Exit status: 0 everything is proven; 1 something is wrong, and named; 2 usage; 3 a filtered export, in which each
// record is proven and a missing one cannot be seen.
//
// What is checked is written down in shared/src/domain/audit/mod.rs.

import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const DOMAIN = "camarad/audit/v1";
const FIELDS = {
  manifest: ["type", "version", "scope", "exportedAt", "filter"],
  checkpoint: ["type", "scope", "seq", "hash", "at", "key", "signature"],
  head: ["type", "scope", "seq", "hash", "at", "key", "signature"],
  record: ["type", "seq", "id", "prevHash", "recordHash", "expiresAt", "hash", "record", "personal", "erased"],
  expired: ["type", "seq", "id", "prevHash", "recordHash", "expiresAt", "hash"],
  missing: ["type", "seq", "id", "prevHash", "recordHash", "expiresAt", "hash"],
  end: ["type", "lines", "sha256"],
};

const sha256 = (text) => createHash("sha256").update(text).digest("base64url");

/** RFC 8785; numbers are whole and below 2^53 here. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const members = Object.keys(value).sort();
    return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

const genesis = (scope) => sha256([DOMAIN, scope, "0"].join("\n"));
const link = (scope, line) =>
  sha256([DOMAIN, scope, String(line.seq), line.prevHash, line.recordHash, line.expiresAt].join("\n"));

/** Whether a base64url text is the one way to write its bytes. */
const strict = (text) => typeof text === "string" && Buffer.from(text, "base64url").toString("base64url") === text;

function signedWell(statement, kind) {
  try {
    if (!strict(statement.key) || !strict(statement.signature)) return false;
    const text = [DOMAIN, kind, statement.scope, String(statement.seq), statement.hash, statement.at].join("\n");
    const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: statement.key }, format: "jwk" });
    return verify(null, Buffer.from(text), key, Buffer.from(statement.signature, "base64url"));
  } catch {
    return false;
  }
}

/** One export. `problems` names each fault; `keys` are those that signed. */
class Export {
  constructor(text, now) {
    this.text = text;
    this.now = now;
    this.problems = [];
    this.keys = new Set();
    this.hashes = new Map(); // by number, for anchors
    this.records = 0;
    this.expired = 0;
  }

  wrong(line, what) {
    this.problems.push(`line ${line}: ${what}`);
  }

  check() {
    const lines = this.parse();
    if (!lines) return this;
    const [manifest] = lines;
    if (manifest.value?.type !== "manifest" || manifest.value.version !== 1) {
      this.wrong(1, "there is no manifest of version 1 at the beginning: this is no whole export");
      return this;
    }
    this.scope = manifest.value.scope;
    this.filtered = manifest.value.filter !== undefined;
    this.exportedAt = Date.parse(manifest.value.exportedAt);
    if (!(this.exportedAt <= this.now)) this.wrong(1, "exportedAt lies in the future, or is no time");
    this.ending(lines);
    this.walk(lines.slice(1));
    return this;
  }

  parse() {
    const texts = this.text.split("\n");
    if (texts.pop() !== "") this.wrong(texts.length + 1, "the last line has no end: the file was cut off");
    const lines = [];
    for (const [index, text] of texts.entries()) {
      let value;
      try {
        value = JSON.parse(text);
      } catch {
        this.wrong(index + 1, `this is not JSON${this.near(lines)}`);
        lines.push({ number: index + 1, value: null, text });
        continue;
      }
      const known = FIELDS[value?.type];
      const strange = known ? Object.keys(value).filter((name) => !known.includes(name)) : [];
      if (!known) this.wrong(index + 1, `a line of no known type${this.near(lines)}`);
      for (const name of strange) this.wrong(index + 1, `${name} does not belong here`);
      lines.push({ number: index + 1, value: known ? value : null, text });
    }
    if (lines.length === 0) {
      this.wrong(1, "the file is empty");
      return null;
    }
    return lines;
  }

  near(lines) {
    const last = lines.findLast((line) => Number.isInteger(line.value?.seq));
    return last ? `, after record ${last.value.seq} (${last.value.id ?? last.value.type})` : "";
  }

  /** The last line: how many there are, and their sum, so that no change at all stays unseen. */
  ending(lines) {
    const last = lines.at(-1);
    if (last.value?.type !== "end") {
      this.wrong(last.number, `there is no end: the file was cut off${this.near(lines)}`);
      return;
    }
    lines.pop();
    const sum = createHash("sha256").update(lines.map((line) => `${line.text}\n`).join("")).digest("hex");
    if (last.value.lines !== lines.length) this.wrong(last.number, `${lines.length} lines, and ${last.value.lines} were written`);
    else if (last.value.sha256 !== sum) this.wrong(last.number, "the file is not as it was written: its sum differs");
  }

  walk(lines) {
    let at = { seq: 0, hash: genesis(this.scope) };
    let head = null;
    for (const { number, value } of lines) {
      if (!value) continue;
      if (head) this.wrong(number, "something comes after the head");
      switch (value.type) {
        case "checkpoint":
          if (at.seq !== 0 || this.hashes.size > 0) this.wrong(number, "a checkpoint that is not at the beginning");
          if (this.statement(number, value)) {
            at = { seq: value.seq, hash: value.hash };
            this.hashes.set(value.seq, value.hash);
          }
          break;
        case "head":
          head = value;
          this.head(number, value, at);
          break;
        case "record":
        case "expired":
        case "missing":
          at = this.sealed(number, value, at);
          break;
        default:
          this.wrong(number, `a ${value.type} in the middle`);
      }
    }
    if (!head) this.wrong(lines.length + 1, `the head is missing: the log may go on after record ${at.seq}`);
  }

  statement(number, value) {
    if (value.scope !== this.scope) this.wrong(number, `a ${value.type} of another log, ${value.scope}`);
    else if (!signedWell(value, value.type)) this.wrong(number, `the ${value.type} is not signed by its key: it was changed`);
    else {
      this.keys.add(value.key);
      return true;
    }
    return false;
  }

  head(number, value, at) {
    this.end = value;
    const empty = value.seq === 0 && value.hash === genesis(this.scope) && value.scope === this.scope;
    if (!(empty && value.signature === undefined) && !this.statement(number, value)) return;
    if (this.filtered) return;
    if (value.seq > at.seq) this.wrong(number, `records ${at.seq + 1} to ${value.seq} are missing at the end`);
    else if (value.seq < at.seq) this.wrong(number, `records ${value.seq + 1} to ${at.seq} come after the head: they were inserted`);
    else if (value.hash !== at.hash) this.wrong(number, "the head is not the hash of the last record");
  }

  /** A record, or what is left of it; answers where the chain stands. */
  sealed(number, value, at) {
    const name = `record ${value.seq} (${value.record?.id ?? value.id})`;
    if (!Number.isInteger(value.seq)) {
      this.wrong(number, "a record without a number");
      return at;
    }
    if (value.seq <= at.seq) {
      const what = this.hashes.get(value.seq) === value.hash ? "comes again" : "stands in the wrong place";
      this.wrong(number, `${name} ${what}: it was inserted or moved`);
      return at;
    }
    const gap = value.seq > at.seq + 1;
    if (gap && !this.filtered) {
      const from = at.seq + 1;
      const to = value.seq - 1;
      this.wrong(number, from === to ? `record ${from} is missing: it was removed or moved` : `records ${from} to ${to} are missing: they were removed or moved`);
    }
    if (!gap && value.prevHash !== at.hash) this.wrong(number, `${name} does not follow the one before`);
    if (link(this.scope, value) !== value.hash) this.wrong(number, `${name} has a changed seal`);
    this.hashes.set(value.seq, value.hash);
    this.content(number, value, name);
    return { seq: value.seq, hash: value.hash };
  }

  content(number, value, name) {
    if (value.type === "missing") {
      this.wrong(number, `${name} is missing: it was removed from the table`);
      return;
    }
    if (value.type === "expired") {
      this.expired += 1;
      if (!(Date.parse(value.expiresAt) <= this.exportedAt)) this.wrong(number, `${name} was removed before its time, ${value.expiresAt}`);
      return;
    }
    this.records += 1;
    const { record, personal } = value;
    if (record === null || typeof record !== "object") return this.wrong(number, `${name} has no content`);
    if (sha256(canonical(record)) !== value.recordHash) this.wrong(number, `${name} was changed`);
    if (record.scope !== this.scope) this.wrong(number, `${name} belongs to another log`);
    if (record.id !== value.id) this.wrong(number, `${name} was exchanged for another`);
    if (record.expiresAt !== value.expiresAt) this.wrong(number, `${name} has two ends of life`);
    if (personal !== undefined && sha256(canonical(personal)) !== record.personal?.digest)
      this.wrong(number, `${name} has changed personal fields`);
    const open = personal !== undefined;
    const closed = record.personal !== undefined && !open;
    if (closed !== (value.erased === true) || (value.erased !== undefined && value.erased !== true))
      this.wrong(number, `${name} lacks its personal fields, and they were not erased`);
  }

  anchored(anchors) {
    let fitting = 0;
    for (const anchor of anchors.filter((one) => one.scope === this.scope)) {
      if (!signedWell(anchor, anchor.kind)) {
        this.problems.push(`anchor of record ${anchor.seq}: not signed by its key`);
        continue;
      }
      this.keys.add(anchor.key);
      const hash = this.hashes.get(anchor.seq);
      const within = Date.parse(anchor.at) <= Date.parse(this.end?.at);
      if (hash !== undefined && hash !== anchor.hash) this.problems.push(`anchor of record ${anchor.seq}: the log told another history then`);
      else if (within && !this.filtered && anchor.seq > (this.end?.seq ?? 0)) this.problems.push(`anchor of record ${anchor.seq}: the log was longer then`);
      else fitting += 1;
    }
    return fitting;
  }
}

/** The statements in lines of the sealer's log. */
function anchorsOf(text) {
  const found = [];
  for (const line of text.split("\n")) {
    try {
      const value = JSON.parse(line.slice(line.indexOf("{")));
      const told = value["audit.anchor"] ?? value.fields?.["audit.anchor"];
      if (told) found.push(JSON.parse(told));
      else if (value.kind && value.signature) found.push(value);
    } catch {
      // another line of the log
    }
  }
  return found;
}

/** One key a line, or the set that /.well-known/audit-keys.json is. */
function keysOf(text) {
  try {
    const set = JSON.parse(text);
    if (Array.isArray(set?.keys)) return set.keys.map((key) => key.x);
  } catch {
    // no set: lines
  }
  return text.split(/\s+/).filter(Boolean);
}

function options(args) {
  const given = { files: [], keys: null, anchors: [], now: Date.now() };
  while (args.length > 0) {
    const arg = args.shift();
    if (arg === "--keys") given.keys = keysOf(readFileSync(args.shift(), "utf8"));
    else if (arg === "--anchors") given.anchors = anchorsOf(readFileSync(args.shift(), "utf8"));
    else if (arg === "--now") given.now = Date.parse(args.shift());
    else given.files.push(arg);
  }
  return given;
}

function report(file, given) {
  const found = new Export(readFileSync(file, "utf8"), given.now).check();
  const fitting = given.anchors.length > 0 ? found.anchored(given.anchors) : 0;
  for (const key of found.keys)
    if (given.keys && !given.keys.includes(key)) found.problems.push(`signed by ${key}, which is not among the trusted keys`);
  if (found.problems.length > 0) {
    console.log(`${file}: NOT AS IT WAS WRITTEN`);
    for (const problem of found.problems) console.log(`  ${problem}`);
    return 1;
  }
  const kept = `${found.records} records${found.expired ? `, ${found.expired} more that have lived to their end` : ""}`;
  const state = found.end.at ? `as of ${found.end.at}` : "without any record yet";
  if (found.filtered) console.log(`${file}: each of ${kept} of ${found.scope} is as it was written. A filtered export cannot show whether one is missing.`);
  else console.log(`${file}: ${kept} of ${found.scope}, ${state}: nothing was changed, removed, added or reordered.`);
  if (fitting > 0) console.log(`  ${fitting} anchors fit.`);
  for (const key of given.keys ? [] : found.keys) console.log(`  signed by ${key}: compare it with the sealer's log.`);
  return found.filtered ? 3 : 0;
}

try {
  const given = options(process.argv.slice(2));
  if (given.files.length === 0 || given.files.includes("")) {
    console.error("usage: make verify-audit FILE=export.ndjson [KEYS=audit-keys.json] [ANCHORS=log.ndjson]");
    process.exit(2);
  }
  const codes = given.files.map((file) => report(file, given));
  process.exitCode = codes.includes(1) ? 1 : Math.max(...codes);
} catch (error) {
  console.error(String(error.message ?? error));
  process.exitCode = 2;
}
