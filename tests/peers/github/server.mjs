// GitHub's sign-in of the local stack, as a process. README.md has the options.

import { run } from '../process.mjs';
import { startPeer } from './src/peer.mjs';

await run('github', { port: { type: 'string', default: '4573' } }, async ({ values: _, ...options }) => {
  const peer = await startPeer(options);
  return peer.site;
});
