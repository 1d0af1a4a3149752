// What the provider remembers (sessions, codes, tokens), in memory. It outlives a rotation of keys, which builds a new
// provider around it.

const now = () => Date.now();

/** A factory of the adapters that oidc-provider asks for, one per model, all over one map. */
export function memoryStore() {
  const entries = new Map();

  const get = (key) => {
    const entry = entries.get(key);
    if (entry && entry.expiresAt <= now()) {
      entries.delete(key);
      return undefined;
    }
    return entry?.value;
  };
  const put = (key, value, seconds) => {
    entries.set(key, { value, expiresAt: seconds ? now() + seconds * 1000 : Infinity });
  };
  const findWhere = (model, field, wanted) => {
    for (const key of entries.keys()) {
      if (key.startsWith(`${model}:`) && get(key)?.[field] === wanted) return get(key);
    }
    return undefined;
  };

  return class {
    constructor(model) {
      this.model = model;
    }

    #key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload, expiresIn) {
      put(this.#key(id), payload, expiresIn);
    }

    async find(id) {
      return get(this.#key(id));
    }

    async findByUid(uid) {
      return findWhere(this.model, 'uid', uid);
    }

    async findByUserCode(userCode) {
      return findWhere(this.model, 'userCode', userCode);
    }

    /** A code that was used stays known, so that its second use is told apart from an unknown code. */
    async consume(id) {
      const value = get(this.#key(id));
      if (value) value.consumed = Math.floor(now() / 1000);
    }

    async destroy(id) {
      entries.delete(this.#key(id));
    }

    async revokeByGrantId(grantId) {
      for (const [key, { value }] of entries) {
        if (key.startsWith(`${this.model}:`) && value.grantId === grantId) entries.delete(key);
      }
    }
  };
}
