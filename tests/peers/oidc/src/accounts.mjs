// People: whoever types an e-mail address exists. Everything about them follows from the address.

import { createHash } from 'node:crypto';

const hash = (text) => createHash('sha256').update(`camarad-oidc-peer:${text}`).digest();

/** One "@", no spaces, something on both sides. Nothing in common with deliverability. */
export const isEmail = (text) => /^[^\s@]+@[^\s@]+$/.test(text) && text.length <= 254;

/** "ada.lovelace+unverified@example.org" is called "Ada Lovelace". */
export function nameOf(email) {
  const words = email.split('@')[0].split('+')[0].split(/[._-]+/).filter(Boolean);
  return words.map((word) => word[0].toUpperCase() + word.slice(1)).join(' ') || email;
}

const isUnverified = (email) => email.split('@')[0].split('+').slice(1).includes('unverified');

export class Accounts {
  #bySub = new Map();

  /** Makes the account known and gives its subject: stable for an address, whatever its case. */
  register(typed) {
    const email = typed.trim().toLowerCase();
    const sub = hash(email).toString('base64url').slice(0, 24);
    this.#bySub.set(sub, email);
    return sub;
  }

  email(sub) {
    return this.#bySub.get(sub);
  }

  /** The account as oidc-provider wants it; the scopes decide which claims leave the house. */
  find(sub, issuer) {
    const email = this.email(sub);
    if (!email) return undefined;
    const claims = {
      sub,
      email,
      email_verified: !isUnverified(email),
      name: nameOf(email),
      picture: `${issuer}/pictures/${sub}.svg`,
    };
    return { accountId: sub, claims: async () => claims };
  }
}

/** Initials on a colour that belongs to the address. */
export function picture(email) {
  const initials = nameOf(email).split(' ').map((word) => word[0]).slice(0, 2).join('');
  const safe = initials.replace(/[^\p{L}\p{N}]/gu, '');
  const hue = hash(email).readUInt16BE(0) % 360;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96" viewBox="0 0 96 96">
<rect width="96" height="96" fill="hsl(${hue} 45% 45%)"/>
<text x="48" y="60" font-family="sans-serif" font-size="36" fill="#fff" text-anchor="middle">${safe}</text>
</svg>
`;
}
