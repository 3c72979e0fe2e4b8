// Tabs that share a line, each a line of its own here, between locks and channels like a browser's.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { clock } from "./globals.js";
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
  isWatched = async () => true;
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
    for (const other of airs.get(this.name) ?? []) {
      if (other !== this && !other.isFrozen) queueMicrotask(() => other.onmessage?.({ data: structuredClone(data) }));
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

/** Has every tab come into view, hear nothing from the one that leads, and lose patience. */
async function doubt() {
  for (const air of airs.get("feed") ?? []) air.isFrozen = true;
  const time = clock();
  page.dispatchEvent(new Event("visibilitychange"));
  time.tick(2_000);
  time.reset();
  await settled();
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

test("a tab that greets is told how the line stands, and the others hear no news of it", async () => {
  const one = await tab();
  let news = 0;
  one.addEventListener("state", () => news++);
  const two = await tab();
  two.addEventListener("state", () => news++);
  page.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert.deepEqual([two.state, news], ["joined", 0]);
  Wire.all[0].open();
  await settled();
  assert.equal(news, 1, "another join is news to the tab that has joined");
});

test("where locks are denied each tab speaks for itself", async () => {
  let asked = 0;
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request: async () => { asked++; throw new Error("denied"); } } }, configurable: true });
  const line = await tab();
  assert.deepEqual([asked, Wire.all.length, line.state, line.isRelayed], [1, 1, "joined", false]);
});

test("a tab that comes into view takes over from a leader that says nothing", async () => {
  const [one, two] = [await tab(), await tab()];
  await doubt();
  // The first tab has done it, for both share this page; whichever it was, one leads, and by a wire of its own.
  assert.equal([one, two].filter((line) => !line.isRelayed).length, 1);
  assert.equal(two.isRelayed, false, "the one that leads has no reason to doubt itself");
  assert.equal(Wire.all.length, 2);
});

test("a tab that may not take over stays in the queue", async () => {
  const [one, two] = [await tab(), await tab()];
  const { locks } = /** @type {any} */ (navigator);
  const request = locks.request.bind(locks);
  locks.request = async (/** @type {string} */ name, /** @type {any} */ how, /** @type {any} */ act) => {
    if (how.steal) throw new Error("denied");
    return request(name, how, act);
  };
  await doubt();
  assert.deepEqual([one.isRelayed, two.isRelayed, Wire.all.length], [false, true, 1]);
  one.close();
  await settled();
  assert.deepEqual([two.isRelayed, Wire.all.length], [false, 2]);
});

test("whether somebody sees a tab is asked of all, and a tab that has crashed says nothing", async () => {
  const [one] = [await tab(), await tab()];
  assert.equal(await one.isWatched(), true);
  const time = clock();
  page.visibilityState = "hidden";
  // Both stand on one page here: the second has heard the question when it comes into view.
  const watched = one.isWatched();
  page.visibilityState = "visible";
  await settled();
  page.visibilityState = "hidden";
  time.tick(300);
  assert.equal(await watched, true);
  const alone = one.isWatched();
  await settled();
  time.tick(300);
  assert.equal(await alone, false);
});

test("what nobody waits for any more is not done late", async () => {
  const [, two] = [await tab(), await tab()];
  const [leader] = airs.get("feed") ?? [];
  const { onmessage } = /** @type {any} */ (leader);
  /** @type {any[]} */ const queued = [];
  /** @type {any} */ (leader).onmessage = (/** @type {any} */ event) => queued.push(event);
  const time = clock();
  const reply = two.push("feed.mark", { as: "read" });
  await settled();
  time.tick(12_000);
  assert.equal((await reply).status, "timeout");
  time.tick(1);
  for (const event of queued) onmessage(event);
  time.reset();
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
