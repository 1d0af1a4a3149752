// The Python SDK, where it is installed: in .tools/stripe (`make test` puts it there).

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { API_VERSION } from '../src/version.mjs';
import { base, usePeer } from './stripe.mjs';

usePeer();

const TOOLS = process.env.CAMARAD_TOOLS ?? fileURLToPath(new URL('../../../../.tools', import.meta.url));
const PYTHON = `${TOOLS}/stripe/bin/python`;
const SCRIPT = fileURLToPath(new URL('official.py', import.meta.url));

describe('the official Python SDK', () => {
  it('drives and reads the peer', { skip: existsSync(PYTHON) ? false : 'python3 infra/local/tools.py stripe installs it' }, async () => {
    const { stdout } = await promisify(execFile)(PYTHON, [SCRIPT, base()]);
    assert.equal(stdout.trim(), `version ${API_VERSION}`);
  });
});
