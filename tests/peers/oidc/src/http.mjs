// The little that the peer's own paths need of HTTP.

const MAX_BODY_BYTES = 64 * 1024;

export class HttpProblem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function send(res, status, type, body) {
  res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}

export const sendJson = (res, status, value) => send(res, status, 'application/json', `${JSON.stringify(value)}\n`);

export async function readBody(req) {
  const parts = [];
  let size = 0;
  for await (const part of req) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new HttpProblem(413, 'the body is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** An empty body is an empty object. */
export async function readJson(req) {
  const text = await readBody(req);
  try {
    return text.trim() ? JSON.parse(text) : {};
  } catch {
    throw new HttpProblem(400, 'the body is not JSON');
  }
}
