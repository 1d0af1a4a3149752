// Stripe's nested forms: `items[0][price]=price_1&expand[]=customer&metadata[user]=u_1`.

import { invalid } from './errors.mjs';

const MAX_DEPTH = 8;
const SEGMENT = /\[([^\]]*)\]/gy;

/** `a[b][0]` as `['a', 'b', '0']`. */
function path(name) {
  const at = name.indexOf('[');
  if (at < 0) return [name];
  const segments = [name.slice(0, at)];
  SEGMENT.lastIndex = at;
  for (let found = SEGMENT.exec(name); found; found = SEGMENT.exec(name)) {
    segments.push(found[1]);
    if (SEGMENT.lastIndex === name.length) return segments;
  }
  throw invalid(`Invalid form encoding: ${name}`);
}

const isLeaf = (node) => typeof node !== 'object';

function put(root, segments, value) {
  let node = root;
  segments.slice(0, -1).forEach((segment, depth) => {
    const key = segment === '' ? String(Object.keys(node).length) : segment;
    node[key] ??= Object.create(null);
    node = node[key];
    if (isLeaf(node)) throw invalid(`Invalid form encoding: ${segments.slice(0, depth + 1).join('.')} is both a value and a map`);
  });
  const last = segments.at(-1);
  node[last === '' ? String(Object.keys(node).length) : last] = value;
}

/** Maps whose keys are all numbers are lists. */
function settle(node) {
  if (isLeaf(node)) return node;
  const keys = Object.keys(node);
  if (keys.length > 0 && keys.every((key) => /^\d+$/.test(key))) {
    return keys.sort((a, b) => a - b).map((key) => settle(node[key]));
  }
  for (const key of keys) node[key] = settle(node[key]);
  return node;
}

/** The parameters of a query or a form body. Values are text still; `params.mjs` gives them their types. */
export function decode(text) {
  const root = Object.create(null);
  for (const [name, value] of new URLSearchParams(text)) {
    const segments = path(name);
    if (segments.length > MAX_DEPTH) throw invalid(`Invalid form encoding: ${name} is nested too deep`);
    put(root, segments, value);
  }
  for (const key of Object.keys(root)) root[key] = settle(root[key]);
  return root;
}
