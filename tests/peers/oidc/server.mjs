// The OpenID provider of the local stack, as a process. README.md has the options.

import { run } from '../process.mjs';
import { startPeer } from './src/peer.mjs';

const OPTIONS = {
  port: { type: 'string', default: '4572' },
  alg: { type: 'string', default: 'RS256' },
};

await run('oidc', OPTIONS, async ({ values, ...options }) => {
  const peer = await startPeer({ ...options, alg: values.alg });
  return peer.issuer;
});
