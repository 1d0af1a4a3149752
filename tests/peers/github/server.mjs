// GitHub's sign-in of the local stack, as a process. README.md has the options.

import { fstatSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { startPeer } from './src/peer.mjs';

function options() {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '4573' },
      'redirect-uri': { type: 'string', multiple: true },
      'client-id': { type: 'string', default: 'camarad' },
      'client-secret': { type: 'string', default: 'local-secret' },
    },
  });
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

try {
  const peer = await startPeer(options());
  endWithParent();
  process.on('SIGTERM', () => process.exit(0)).on('SIGINT', () => process.exit(0));
  console.log(`listening on ${peer.site}`);
} catch (error) {
  console.error(`github peer: ${error.message}`);
  process.exit(1);
}
