// People: whoever types an address has an account. Everything about them follows from the address.

import { createHash } from 'node:crypto';

const hash = (text) => createHash('sha256').update(`camarad-github-peer:${text}`).digest();

export const isEmail = (text) => /^[^\s@]+@[^\s@]+$/.test(text) && text.length <= 254;

const tags = (email) => email.split('@')[0].split('+').slice(1);

export class People {
  #byId = new Map();

  /** Logins that were changed: an id stays, a login can be given up and taken by somebody else. */
  #logins = new Map();

  signIn(typed) {
    const email = typed.trim();
    const id = hash(email.toLowerCase()).readUInt32BE(0);
    this.#byId.set(id, email);
    return id;
  }

  rename(email, login) {
    const id = hash(email.toLowerCase()).readUInt32BE(0);
    this.#logins.set(id, login);
    return id;
  }

  user(id) {
    const email = this.#byId.get(id);
    const local = email.split('@')[0].split('+')[0];
    return {
      id,
      login: this.#logins.get(id) ?? local,
      name: tags(email).includes('nameless') ? null : local[0].toUpperCase() + local.slice(1),
      avatar_url: `https://avatars.example/u/${id}`,
      // The public one, which nobody has verified: it must never be used.
      email: 'public-address@example.net',
    };
  }

  emails(id) {
    const email = this.#byId.get(id);
    const primary = { email, primary: true, verified: !tags(email).includes('unverified'), visibility: 'private' };
    const old = { email: `old-${email}`, primary: false, verified: true, visibility: null };
    return tags(email).includes('addressless') ? [old] : [old, primary];
  }
}
