// What every peer's process has in common: its options, its end, and the line that says where it listens.

import { fstatSync } from 'node:fs';
import { parseArgs } from 'node:util';

const COMMON = {
  'redirect-uri': { type: 'string', multiple: true },
  'client-id': { type: 'string', default: 'camarad' },
  'client-secret': { type: 'string', default: 'local-secret' },
};

function common(values) {
  if (!values['redirect-uri']) throw new Error('--redirect-uri: at least one is needed');
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port ${values.port}: not a port`);
  return {
    port,
    redirectUris: values['redirect-uri'],
    clientId: values['client-id'],
    clientSecret: values['client-secret'],
  };
}

/** Ends with the process that started it. Only a pipe tells: /dev/null would end a peer in the background at once. */
function endWithParent() {
  const stdin = fstatSync(0);
  if (!stdin.isFIFO() && !stdin.isSocket()) return;
  process.stdin.on('close', () => process.exit(0)).on('end', () => process.exit(0)).resume();
}

/** Runs a peer. `options` are its own beside the common ones, by `parseArgs`; `start` gets all, and answers the URL. */
export async function run(name, options, start) {
  try {
    const { values } = parseArgs({ options: { ...COMMON, ...options } });
    const url = await start({ ...common(values), values });
    endWithParent();
    process.on('SIGTERM', () => process.exit(0)).on('SIGINT', () => process.exit(0));
    console.log(`listening on ${url}`);
  } catch (error) {
    console.error(`${name} peer: ${error.message}`);
    process.exit(1);
  }
}
