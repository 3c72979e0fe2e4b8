// Tabs that share a line, each a line of its own here, between locks and channels like a browser's.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { SharedLine } from "../line.js";

/** A browser's locks, as far as lines use them. */
class Locks {
  /** @type {{abort: (reason: Error) => void}|null} */ holder = null;
  /** @type {(() => void)[]} */ waiting = [];

  /** @param {string} _ @param {any} how @param {() => Promise<unknown>} act */
  request(_, { steal, signal }, act) {
    return new Promise((resolve, reject) => {
      const take = () => {
        if (signal?.aborted) return this.next();
        const own = { abort: reject };
        this.holder = own;
        act().then((done) => {
          if (this.holder === own) this.next();
          resolve(done);
        });
      };
      signal?.addEventListener("abort", () => reject(new Error("aborted")));
      if (steal) {
        this.holder?.abort(new Error("stolen"));
        take();
      } else if (this.holder) this.waiting.push(take);
      else take();
    });
  }
  next() {
    this.holder = null;
    this.waiting.shift()?.();
  }
}

/** What a leading tab speaks through. */
class Wire extends EventTarget {
  /** @type {Wire[]} */ static all = [];
  /** @type {any} */ state = "idle";
  problem = "";
  /** @type {Record<string, any>} */ answer = {};
  isRelayed = false;
  isWatched = true;
  /** @type {any[]} */ asked = [];

  constructor() {
    super();
    Wire.all.push(this);
  }
  open() {
    this.state = "joined";
    this.answer = { version: Wire.all.length };
    this.dispatchEvent(new Event("state"));
  }
  close() {
    this.state = "idle";
  }
  /** @param {string} event @param {object} payload @returns {Promise<any>} */
  async push(event, payload) {
    this.asked.push([event, payload]);
    return { status: "ok", response: { event } };
  }
}

/** @type {Map<string, Set<Air>>} */ const airs = new Map();
/** A channel between tabs; what is frozen hears nothing until it thaws. */
class Air {
  /** @type {any} */ onmessage = null;
  isFrozen = false;
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    if (!airs.has(name)) airs.set(name, new Set());
    airs.get(name)?.add(this);
  }
  /** @param {any} data */
  postMessage(data) {
    const text = JSON.stringify(data);
    for (const other of airs.get(this.name) ?? []) {
      if (other !== this && !other.isFrozen) queueMicrotask(() => other.onmessage?.({ data: JSON.parse(text) }));
    }
  }
  close() {
    airs.get(this.name)?.delete(this);
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
/** @type {SharedLine[]} */ let tabs = [];
/** @type {any} */ let page;

beforeEach(() => {
  Wire.all = [];
  airs.clear();
  page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  Object.assign(globalThis, { document: page, window: new EventTarget(), BroadcastChannel: Air });
  Object.defineProperty(globalThis, "navigator", { value: { locks: new Locks() }, configurable: true });
  tabs = [];
});
afterEach(() => {
  for (const tab of tabs) tab.close();
});

async function tab() {
  const line = new SharedLine("feed", () => /** @type {any} */ (new Wire()));
  tabs.push(line);
  line.open(() => ({}));
  await settled();
  await settled();
  return line;
}

test("one tab leads, the others speak through it, and the next leads when it goes", async () => {
  const [one, two] = [await tab(), await tab()];
  assert.deepEqual([Wire.all.length, one.isRelayed, two.isRelayed, two.state, two.answer], [1, false, true, "joined", { version: 1 }]);
  assert.deepEqual(await two.push("feed.mark", { as: "read" }), { status: "ok", response: { event: "feed.mark" } });
  assert.deepEqual(Wire.all[0].asked, [["feed.mark", { as: "read" }]]);
  /** @type {any[]} */ const heard = [];
  two.addEventListener("message", (event) => heard.push(/** @type {any} */ (event).detail));
  Wire.all[0].dispatchEvent(new CustomEvent("message", { detail: { event: "feed.delta" } }));
  await settled();
  assert.deepEqual(heard, [{ event: "feed.delta" }]);
  one.close();
  await settled();
  assert.deepEqual([Wire.all.length, two.isRelayed, two.answer], [2, false, { version: 2 }]);
});

test("where locks are denied each tab speaks for itself", async () => {
  let asked = 0;
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request: async () => { asked++; throw new Error("denied"); } } }, configurable: true });
  const line = await tab();
  assert.deepEqual([asked, Wire.all.length, line.state, line.isRelayed], [1, 1, "joined", false]);
});

test("a tab that comes into view takes over from a leader that says nothing", async (t) => {
  const [one, two] = [await tab(), await tab()];
  for (const air of airs.get("feed") ?? []) air.isFrozen = true;
  t.mock.timers.enable({ apis: ["setTimeout"] });
  page.dispatchEvent(new Event("visibilitychange"));
  t.mock.timers.tick(2_000);
  t.mock.timers.reset();
  await settled();
  // The first tab has done it, for both share this page; whichever it was, one leads, and by a wire of its own.
  assert.equal([one, two].filter((line) => !line.isRelayed).length, 1);
  assert.equal(two.isRelayed, false, "the one that leads has no reason to doubt itself");
  assert.equal(Wire.all.length, 2);
});

test("what nobody waits for any more is not done late", async (t) => {
  const [, two] = [await tab(), await tab()];
  const [leader] = airs.get("feed") ?? [];
  const { onmessage } = /** @type {any} */ (leader);
  /** @type {any[]} */ const queued = [];
  /** @type {any} */ (leader).onmessage = (/** @type {any} */ event) => queued.push(event);
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const reply = two.push("feed.mark", { as: "read" });
  await settled();
  t.mock.timers.tick(12_000);
  assert.equal((await reply).status, "timeout");
  t.mock.timers.tick(1);
  for (const event of queued) onmessage(event);
  t.mock.timers.reset();
  await settled();
  assert.deepEqual(Wire.all[0].asked, []);
});

test("a tab whose leader is refused for good tries by itself, once", async () => {
  const [, two] = [await tab(), await tab()];
  const refuse = () => {
    const wire = Wire.all[Wire.all.length - 1];
    wire.state = "stopped";
    wire.dispatchEvent(new Event("state"));
  };
  refuse();
  await settled();
  await settled();
  assert.deepEqual([Wire.all.length, two.isRelayed, two.state], [2, false, "joined"]);
  refuse();
  for (let turn = 0; turn < 6; turn++) await settled();
  refuse();
  for (let turn = 0; turn < 6; turn++) await settled();
  assert.equal(Wire.all.length, 3, "each has tried once; then both know");
});
