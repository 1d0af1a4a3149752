// Stripe of the local stack, as a process. README.md has the options.

import { fstatSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { startPeer } from './src/peer.mjs';

function options() {
  const { values } = parseArgs({ options: { port: { type: 'string', default: '4574' }, file: { type: 'string' } } });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port ${values.port}: not a port`);
  return { port, file: values.file };
}

/** Calls back when the process that started it is gone. Only a pipe tells: /dev/null would end a peer in the background at once. */
function whenParentEnds(end) {
  const stdin = fstatSync(0);
  if (!stdin.isFIFO() && !stdin.isSocket()) return;
  process.stdin.on('close', end).on('end', end).resume();
}

try {
  const peer = await startPeer(options());
  const end = () => {
    peer.save();
    process.exit(0);
  };
  whenParentEnds(end);
  process.on('SIGTERM', end).on('SIGINT', end);
  console.log(`listening on ${peer.base}`);
} catch (error) {
  console.error(`stripe peer: ${error.message}`);
  process.exit(1);
}
