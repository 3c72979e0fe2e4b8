// What every browser has, and Node 18 has not; and a clock that is turned by hand, which it has not either.

globalThis.CustomEvent ??= /** @type {any} */ (class extends Event {
  /** @param {string} type @param {CustomEventInit} [init] */
  constructor(type, init) {
    super(type, init);
    this.detail = init?.detail ?? null;
  }
});

/**
 * Stops the time of this process: from now on only the clock that this gives moves it on, until it is put away.
 * @returns {{tick: (ms: number) => void, reset: () => void}}
 */
export function clock() {
  const { setTimeout, clearTimeout } = globalThis;
  const { now } = Date;
  let time = now();
  /** @type {Map<number, {at: number, act: () => void}>} */ const due = new Map();
  let last = 0;
  Object.assign(globalThis, {
    setTimeout: (/** @type {() => void} */ act, ms = 0) => (due.set(++last, { at: time + ms, act }), last),
    clearTimeout: (/** @type {any} */ id) => (due.delete(id) ? undefined : clearTimeout(id)),
  });
  Date.now = () => time;
  return {
    tick(ms) {
      const end = time + ms;
      for (;;) {
        const [next] = [...due].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
        if (!next) break;
        const [id, { at, act }] = next;
        due.delete(id);
        time = at;
        act();
      }
      time = end;
    },
    reset() {
      Object.assign(globalThis, { setTimeout, clearTimeout });
      Date.now = now;
    },
  };
}
