import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';

import { CALLBACK } from './flow.mjs';

const SERVER = fileURLToPath(new URL('../server.mjs', import.meta.url));
const run = (...args) => spawn(process.execPath, [SERVER, ...args], { stdio: 'pipe' });

async function line(stream) {
  const [chunk] = await once(stream, 'data');
  return String(chunk).trim();
}

describe('the process', () => {
  for (const [name, end] of [['its standard input closes', (child) => child.stdin.end()], ['SIGTERM', (child) => child.kill()]]) {
    it(`listens and ends on ${name}`, async () => {
      const child = run('--port', '0', '--redirect-uri', CALLBACK);
      const said = await line(child.stdout);
      assert.match(said, /^listening on http:\/\/127\.0\.0\.1:\d+$/);
      assert.equal((await fetch(`${said.split(' ')[2]}/.well-known/openid-configuration`)).status, 200);
      end(child);
      assert.deepEqual(await once(child, 'exit'), [0, null]);
    });
  }

  it('says what is wrong with its options', async () => {
    for (const [args, message] of [[['--port', '0'], /redirect-uri/], [['--port', 'x', '--redirect-uri', CALLBACK], /not a port/]]) {
      const child = run(...args);
      assert.match(await line(child.stderr), message);
      assert.deepEqual(await once(child, 'exit'), [1, null]);
    }
  });
});
