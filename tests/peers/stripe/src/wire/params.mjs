// Parameters by specification: what is not in it is unknown, what is there has its type.
// A type is a function of (value, name) that gives the typed value or throws.

import { invalid, missingParameter, unknownParameter } from './errors.mjs';

export const text = (max = 5000) => (value, param) => {
  if (typeof value !== 'string') throw invalid('Invalid string: expected a string', { param });
  if (value === '') {
    throw invalid(`You passed an empty string for '${param}'. We assume empty values are an attempt to unset a parameter; however '${param}' cannot be unset. You should remove '${param}' from your request or supply a non-empty value.`, {
      code: 'parameter_invalid_empty',
      param,
    });
  }
  if (value.length > max) throw invalid(`Invalid string: ${value.slice(0, 10)}...; must be at most ${max} characters`, { param });
  return value;
};

export const id = text(255);

export const int = ({ min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = {}) => (value, param) => {
  if (!/^-?\d{1,16}$/.test(value)) throw invalid(`Invalid integer: ${value}`, { code: 'parameter_invalid_integer', param });
  const number = Number(value);
  if (number < min) throw invalid(`This value must be greater than or equal to ${min}.`, { code: 'parameter_invalid_integer', param });
  if (number > max) throw invalid(`This value must be less than or equal to ${max}.`, { code: 'parameter_invalid_integer', param });
  return number;
};

/** Seconds since 1970. */
export const time = (value, param) => {
  if (!/^\d{1,11}$/.test(value)) throw invalid(`Invalid timestamp: must be an integer Unix timestamp in seconds`, { param });
  return Number(value);
};

export const bool = (value, param) => {
  if (value !== 'true' && value !== 'false') throw invalid(`Invalid boolean: ${value}`, { param });
  return value === 'true';
};

export const decimal = (value, param) => {
  if (!/^-?\d+(\.\d{1,12})?$/.test(value)) throw invalid(`Invalid decimal: ${value}`, { param });
  return value;
};

export const oneOf = (...choices) => (value, param) => {
  if (!choices.includes(value)) throw invalid(`Invalid ${param}: must be one of ${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`, { param });
  return value;
};

/** The first type that takes it. */
export const either = (...types) => (value, param) => {
  let refusal;
  for (const type of types) {
    try {
      return type(value, param);
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
};

export const list = (type, max = 100) => (value, param) => {
  // `expand=customer` instead of `expand[]=customer` is a common slip
  if (!Array.isArray(value)) throw invalid('Invalid array', { param });
  if (value.length > max) throw invalid(`Array is too long: at most ${max}`, { param });
  return value.map((entry, index) => type(entry, `${param}[${index}]`));
};

export const object = (spec) => (value, param) => {
  if (typeof value !== 'object' || Array.isArray(value)) throw invalid('Invalid object', { param });
  return read(value, spec, param);
};

/** Metadata: up to 50 texts; an empty value takes a key away, an empty map all of them. */
export const metadata = (value, param) => {
  if (value === '') return null;
  const entries = Array.isArray(value) ? value.map((entry, index) => [String(index), entry]) : Object.entries(value);
  if (entries.length > 50) throw invalid('Metadata can only have 50 keys', { param });
  for (const [key, entry] of entries) {
    if (typeof entry !== 'string' || entry.length > 500) throw invalid('Metadata values can have up to 500 characters.', { param: `${param}[${key}]` });
    if (key.length > 40) throw invalid('Metadata keys can have up to 40 characters.', { param: `${param}[${key}]` });
  }
  return Object.fromEntries(entries);
};

/** An empty text takes the value away. */
export const clearable = (type) => (value, param) => (value === '' ? null : type(value, param));

export const required = (type) => Object.assign((value, param) => type(value, param), { required: true });

export function read(given, spec, parent = '') {
  const name = (key) => (parent ? `${parent}[${key}]` : key);
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(spec, key)) throw unknownParameter(name(key));
  }
  const typed = {};
  for (const [key, type] of Object.entries(spec)) {
    if (given[key] !== undefined) typed[key] = type(given[key], name(key));
    else if (type.required) throw missingParameter(name(key));
  }
  return typed;
}

/** What every list takes. */
export const PAGE = {
  limit: int({ min: 1, max: 100 }),
  starting_after: id,
  ending_before: id,
};

/** `created=…` or `created[gte]=…`. */
export const RANGE = either(time, object({ gt: time, gte: time, lt: time, lte: time }));

export const inRange = (range, value) => {
  if (range === undefined) return true;
  if (typeof range === 'number') return value === range;
  const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = range;
  return value > gt && value >= gte && value < lt && value <= lte;
};

/** Metadata as Stripe merges it: empty values remove keys. */
export function mergeMetadata(before, change) {
  if (change === undefined) return before;
  if (change === null) return {};
  return Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== ''));
}
