// The feed against a server of a few lines, spoken to through a wire in memory.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { clock } from "./globals.js";
import { Feed } from "../feed.js";
import { DirectLine } from "../line.js";
import { backoff, tokenEnd } from "../socket.js";

const TOPIC = "feeds:c:u";

/** The server's end of one connection: tests say what it answers. */
class Wire {
  /** @type {Wire[]} */ static all = [];
  /** @type {any[]} */ heard = [];
  readyState = 0;
  /** @type {any} */ onopen;
  /** @type {any} */ onmessage;
  /** @type {any} */ onclose;

  /** @param {URL} url */
  constructor(url) {
    this.url = url;
    Wire.all.push(this);
  }
  /** @param {string} text */
  send(text) {
    this.heard.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  /** @param {number} code */
  hangUp(code) {
    this.readyState = 3;
    this.onclose({ code, reason: "" });
  }
  /** The latest frame of this event. @param {string} event */
  last(event) {
    return this.heard.findLast((frame) => frame[3] === event);
  }
  /** @param {string} event @param {object} response @param {string} [status] */
  async answer(event, response, status = "ok") {
    const [joinRef, ref, topic] = this.last(event);
    await this.tell([joinRef, ref, topic, "phx_reply", { status, response }]);
  }
  /** @param {string} event @param {object} payload */
  async push(event, payload) {
    await this.tell([this.last("phx_join")[0], null, TOPIC, event, payload]);
  }
  /** @param {any[]} frame */
  async tell(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
    await settled();
  }
}

/** Lets every promise that can go on do so. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** @param {string} id @param {number} minute @param {object} [more] @returns {any} */
const item = (id, minute, more) => ({
  id, inserted_at: `2026-01-01T00:${String(minute).padStart(2, "0")}:00.000000Z`,
  seen_at: null, read_at: null, archived_at: null, interacted_at: null, blocks: [], ...more,
});
/** @param {number} total @param {number} [unread] @param {number} [unseen] */
const counts = (total, unread = total, unseen = unread) => ({ total_count: total, unread_count: unread, unseen_count: unseen });

/** @type {import("../socket.js").Socket} */ let socket;
/** @type {Feed} */ let feed;
const ids = () => feed.items.map(({ id }) => id);
const wire = () => Wire.all[Wire.all.length - 1];

beforeEach(async () => {
  Wire.all = [];
  /** @type {any} */ (globalThis).WebSocket = Wire;
  await begin();
  wire().accept();
  await wire().answer("phx_join", { version: 5 });
  await wire().push("feed.snapshot", { version: 5, counts: counts(9, 3), entries: [item("b", 2), item("a", 1)], page_info: { after: "x" } });
});

afterEach(() => {
  feed.stop();
  socket.disconnect();
});

/** @param {object} [more] */
async function begin(more) {
  const line = new DirectLine({ host: "http://server", apiKey: "pk", userToken: "t" }, TOPIC);
  socket = line.socket;
  feed = new Feed({ host: "http://server", publicKey: "pk", channel: "c", user: "u", ...more }, line);
  await feed.start();
  await settled();
}

async function reconnect() {
  socket.disconnect();
  socket.connect();
  await settled();
  wire().accept();
}

test("a first join asks for everything, a later one for what changed since", async () => {
  assert.equal(wire().last("phx_join")[4].bellwire.since, null);
  await reconnect();
  assert.equal(wire().last("phx_join")[4].bellwire.since, 5);
  await wire().answer("phx_join", { version: 5 });
  assert.equal(feed.status, "live");
  assert.deepEqual(ids(), ["b", "a"]);
});

test("a delta adds, changes and removes", async () => {
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(9, 2), items: [item("c", 3), item("b", 2, { read_at: "t" })], removed: ["a"] });
  assert.deepEqual([ids(), feed.items[1].read_at, feed.version], [["c", "b"], "t", 6]);
});

test("an item that comes back to the top with other words is told as a new one, another change is not", async () => {
  /** @type {string[]} */ const told = [];
  feed.addEventListener("item", (event) => told.push(/** @type {any} */ (event).detail.id));
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(9, 3), items: [item("b", 2, { seen_at: "t" })], removed: [] });
  assert.deepEqual([ids(), told], [["b", "a"], []]);
  await wire().push("feed.delta", { since: 6, version: 7, counts: counts(9, 3), items: [item("a", 3, { data: { n: 2 } })], removed: [] });
  assert.deepEqual([ids(), told, feed.items[0].data], [["a", "b"], ["a"], { n: 2 }]);
});

test("a gap is not applied but asked for, once", async () => {
  await wire().push("feed.delta", { since: 6, version: 7, counts: counts(11), items: [item("d", 4)], removed: [] });
  await wire().push("feed.delta", { since: 7, version: 8, counts: counts(12), items: [item("e", 5)], removed: [] });
  assert.deepEqual([ids(), feed.version], [["b", "a"], 5]);
  assert.equal(wire().heard.filter((frame) => frame[3] === "feed.fetch").length, 1);
  await wire().answer("feed.fetch", { since: 5, version: 8, counts: counts(12), items: [item("c", 3), item("d", 4), item("e", 5)], removed: [] });
  assert.deepEqual([ids(), feed.version], [["e", "d", "c", "b", "a"], 8]);
});

test("a delta of the past changes nothing", async () => {
  await wire().push("feed.delta", { since: 3, version: 4, counts: counts(1), items: [item("z", 9)], removed: ["a"] });
  assert.deepEqual([ids(), feed.counts.total_count], [["b", "a"], 9]);
});

test("a version too old starts the list anew", async () => {
  await wire().push("feed.delta", { since: 90, version: 91, counts: counts(1), items: [], removed: [] });
  await wire().answer("feed.fetch", { reset: true, version: 91, counts: counts(1), entries: [item("n", 9)], page_info: { after: null } });
  assert.deepEqual([ids(), feed.version, feed.view().hasMore], [["n"], 91, false]);
});

test("a changed item older than the last page waits for its page", async () => {
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(9), items: [item("old", 0)], removed: [] });
  assert.deepEqual(ids(), ["b", "a"]);
  const more = feed.loadMore();
  await wire().answer("feed.fetch", { version: 6, counts: counts(9), entries: [item("old", 0)], page_info: { after: null } });
  assert.equal(await more, true);
  assert.deepEqual([ids(), feed.view().hasMore], [["b", "a", "old"], false]);
});

test("a mark shows at once and stays shown between its reply and its delta", async () => {
  const outcome = feed.mark("read", ["b"]);
  assert.deepEqual([feed.items[0].read_at !== null, feed.counts.unread_count], [true, 2]);
  await wire().answer("feed.mark", { version: 6, counts: counts(9, 2) });
  assert.deepEqual([feed.items[0].read_at !== null, feed.counts.unread_count, (await outcome).ok], [true, 2, true]);
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(9, 2), items: [item("b", 2, { read_at: "server" })], removed: [] });
  assert.deepEqual([feed.items[0].read_at, feed.counts.unread_count], ["server", 2]);
});

test("a refused mark is rolled back, and only that one", async () => {
  const read = feed.mark("read", ["b"]);
  const refusedRef = wire().last("feed.mark");
  void feed.mark("archived", ["a"]);
  assert.deepEqual([ids(), feed.counts.unread_count, feed.counts.total_count], [["b"], 1, 8]);
  await wire().tell([refusedRef[0], refusedRef[1], TOPIC, "phx_reply", { status: "error", response: { reason: "no" } }]);
  assert.deepEqual(await read, { ok: false, reason: "no" });
  assert.deepEqual([ids(), feed.items[0].read_at, feed.counts.unread_count], [["b"], null, 2]);
});

test("a mark made offline is sent after the rejoin", async () => {
  socket.disconnect();
  const outcome = feed.mark("read", ["b"]);
  assert.equal(feed.items[0].read_at !== null, true);
  await reconnect();
  await wire().answer("phx_join", { version: 5 });
  assert.deepEqual(wire().last("feed.mark")[4], { as: "read", ids: ["b"] });
  await wire().answer("feed.mark", { version: 6, counts: counts(9, 2) });
  assert.equal((await outcome).ok, true);
});

test("marking all names only unmarked items up to the newest one shown", async () => {
  void feed.markAll("read");
  assert.equal(feed.counts.unread_count, 0, "unloaded items are covered too");
  assert.deepEqual(wire().last("feed.mark")[4], {
    as: "read", all: true, filter: { archived: "exclude", status: "unread", "inserted_at.lte": item("b", 2).inserted_at },
  });
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(10, 4), items: [item("c", 3)], removed: [] });
  assert.deepEqual([feed.counts.unread_count, feed.items[0].read_at], [1, null], "what arrives meanwhile stays unread");
});

test("more than fifty ids are sent in several marks", () => {
  void feed.mark("seen", Array.from({ length: 120 }, (_, n) => `m${n}`));
  const sizes = wire().heard.filter((frame) => frame[3] === "feed.mark").map((frame) => frame[4].ids.length);
  assert.deepEqual(sizes, [50, 50, 20]);
});

test("a closing connection is not asked again and again", async () => {
  wire().readyState = 2;
  const asked = wire().heard.length;
  void feed.mark("read", ["b"]);
  await settled();
  assert.equal(wire().heard.length, asked);
});

test("an ended token without a way to renew it stops the feed; so does a policy violation", async () => {
  wire().hangUp(4001);
  assert.deepEqual([feed.status, feed.problem], ["stopped", "The user's token has ended."]);
  await reconnect();
  wire().hangUp(1008);
  assert.equal(feed.status, "stopped");
});

test("any other close is retried", () => {
  for (const code of [1000, 1001, 1006, 1011, 1012]) {
    wire().hangUp?.(code);
    assert.deepEqual([socket.state, feed.status], ["waiting", "offline"], String(code));
    socket.disconnect();
    socket.connect();
  }
});

test("the back-off has full jitter between a quarter of a second and thirty", () => {
  assert.deepEqual([backoff(0, 0), backoff(50, 0)], [250, 250]);
  assert.equal(backoff(0, 1), 1_000);
  assert.equal(backoff(3, 1), 8_000);
  assert.equal(backoff(50, 1), 30_000);
});

test("the more clients a server has the longer they spread their return", () => {
  assert.deepEqual([backoff(0, 0, undefined, [250, 20_000]), backoff(0, 1, undefined, [250, 20_000])], [250, 20_000]);
  assert.equal(backoff(50, 1, undefined, [250, 2_000]), 30_000, "who is refused again and again waits as before");
});

/** Lets the socket lose its connection, and gives the longest that it may then wait. @param {any} t @param {unknown} said */
async function longestPause(t, said) {
  await reconnect();
  await wire().answer("phx_join", { version: 5, reconnect_ms: said });
  t.mock.method(Math, "random", () => 1);
  /** @type {number[]} */ const pauses = [];
  t.mock.method(globalThis, "setTimeout", (/** @type {any} */ _act, /** @type {number} */ pause) => void pauses.push(pause));
  wire().hangUp(1012);
  t.mock.restoreAll();
  return pauses;
}

test("a socket waits as long as its server asked, and no nonsense", async (t) => {
  assert.deepEqual(await longestPause(t, [250, 20_000]), [20_000]);
  for (const nonsense of [undefined, null, "x", [5], [9, 1], [-1, 5], [0, 9e9], [0, null]]) {
    assert.deepEqual(await longestPause(t, nonsense), [1_000], JSON.stringify(nonsense));
  }
});

test("a fresh token is measured by its own life span, a given one by the clock", () => {
  const token = `h.${btoa(JSON.stringify({ iat: 1_000, exp: 4_600 }))}.s`;
  assert.equal(tokenEnd(token, 9_000_000, true), 9_000_000 + 3_600_000);
  assert.equal(tokenEnd(token, 9_000_000, false), 4_600_000);
  assert.equal(tokenEnd("0f3a", 0, false), Infinity);
});

/** A feed with views, as the server first tells of it. */
async function viewed() {
  feed.stop();
  await begin({ views: { unread: { status: "unread" }, archived: { archived: "only" }, mentions: { source: "mention" } } });
  wire().accept();
  await wire().answer("phx_join", { version: 5 });
  const views = { unread: counts(9, 3), archived: counts(4, 1), mentions: counts(2, 1) };
  const entries = [item("b", 12, { source: { key: "mention" } }), item("a", 11, { read_at: "t" })];
  await wire().push("feed.snapshot", { version: 5, counts: counts(9, 3), views, entries, page_info: { after: "x" } });
  return views;
}
const named = (/** @type {string} */ name) => feed.view(name).items.map(({ id }) => id);

test("a join names the views, each within the feed's own filter", async () => {
  await viewed();
  assert.deepEqual(wire().last("phx_join")[4].bellwire.views, {
    unread: { archived: "exclude", status: "unread" }, archived: { archived: "only" }, mentions: { archived: "exclude", source: "mention" },
  });
});

test("a view shows what is loaded of it until its own first page comes, and then reaches further than the feed", async () => {
  await viewed();
  assert.deepEqual([named("unread"), named("mentions"), named("archived")], [["b"], ["b"], []]);
  assert.deepEqual([feed.view("unread").isLoaded, feed.view("unread").counts.unread_count], [false, 3]);
  const more = feed.loadMore("unread");
  assert.deepEqual(wire().last("feed.fetch")[4], { view: "unread", page_size: 50 });
  await wire().answer("feed.fetch", { version: 5, counts: counts(9, 3), entries: [item("b", 12), item("old", 1)], page_info: { after: null } });
  assert.equal(await more, true);
  assert.deepEqual([named("unread"), ids()], [["b", "old"], ["b", "a"]], "the feed has a page between, which has not come");
});

test("an item that is archived leaves the feed for the archive, whoever does it", async () => {
  const views = await viewed();
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(8, 2), views: { ...views, archived: counts(5, 2) }, items: [item("b", 12, { archived_at: "t" })], removed: [] });
  assert.deepEqual([ids(), named("archived"), feed.view("archived").counts.total_count], [["a"], ["b"], 5]);
  void feed.mark("unarchived", ["b"]);
  assert.deepEqual([ids(), named("archived"), feed.counts.total_count, feed.view("archived").counts.total_count], [["b", "a"], [], 9, 4]);
});

test("a mark counts in every view that it concerns", async () => {
  await viewed();
  void feed.mark("read", ["b"]);
  assert.deepEqual(["all", "unread", "mentions", "archived"].map((name) => feed.view(name).counts.unread_count), [2, 2, 0, 1]);
  assert.deepEqual(named("unread"), []);
});

test("marking all of a view leaves the rest of the feed alone", async () => {
  await viewed();
  void feed.markAll("read", "mentions");
  assert.deepEqual(wire().last("feed.mark")[4].filter, { archived: "exclude", source: "mention", status: "unread", "inserted_at.lte": item("b", 12).inserted_at });
  assert.equal(feed.view("mentions").counts.unread_count, 0);
  assert.equal(feed.counts.unread_count, 2);
});

test("a mark of ids is taken back by its opposite, of those that it changed", async () => {
  await viewed();
  const marked = feed.mark("read", ["b", "a"]);
  assert.deepEqual(feed.undoable, { as: "read", count: 1 });
  await wire().answer("feed.mark", { version: 6, counts: counts(9, 2), at: "T" });
  await marked;
  void feed.undo();
  assert.deepEqual(wire().last("feed.mark")[4], { as: "unread", ids: ["b"] });
  assert.equal(feed.undoable, null);
});

test("a mark of everything is taken back by the instant that it wrote", async () => {
  await viewed();
  const marked = feed.markAll("read");
  await wire().answer("feed.mark", { version: 6, counts: counts(9, 0), at: "2026-01-01T00:30:00.000001Z" });
  await marked;
  const undone = feed.undo();
  assert.deepEqual(feed.items.map(({ read_at }) => read_at), [null, "t"], "what was read before stays");
  await settled();
  assert.deepEqual(wire().last("feed.mark")[4], {
    as: "unread", all: true, marked_at: "2026-01-01T00:30:00.000001Z",
    filter: { archived: "include", status: "all", "inserted_at.lte": item("b", 12).inserted_at },
  });
  await wire().answer("feed.mark", { version: 7, counts: counts(9, 3) });
  assert.equal((await undone).ok, true);
});

test("what was never sent is taken back here", async () => {
  await viewed();
  socket.disconnect();
  void feed.mark("read", ["b"]);
  const said = wire().heard.length;
  assert.deepEqual(await feed.undo(), { ok: true, reason: "" });
  assert.deepEqual([feed.counts.unread_count, wire().heard.length], [3, said]);
});

test("a feed that is stopped while it begins opens no socket", async () => {
  feed.stop();
  const before = Wire.all.length;
  const line = new DirectLine({ host: "http://server", apiKey: "pk" }, TOPIC);
  feed = new Feed({ host: "http://server", publicKey: "pk", channel: "c", user: "u" }, line);
  const begun = feed.start();
  feed.stop();
  await begun;
  assert.equal(Wire.all.length, before);
});

test("what is shown is one object for as long as nothing changes", async () => {
  await viewed();
  assert.equal(feed.view("unread"), feed.view("unread"));
  const before = feed.view();
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(9, 3), items: [], removed: [] });
  assert.notEqual(feed.view(), before);
});

test("many deltas in one turn are one change", async () => {
  await viewed();
  let changes = 0;
  feed.addEventListener("change", () => changes++);
  for (let version = 6; version < 106; version++) {
    wire().onmessage({ data: JSON.stringify([wire().last("phx_join")[0], null, TOPIC, "feed.delta", { since: version - 1, version, counts: counts(version), items: [item(`n${version}`, 20)], removed: [] }]) });
  }
  await settled();
  assert.deepEqual([changes, feed.items.length, feed.version], [1, 102, 105]);
});

test("a page that was read before the last change is asked for again", async () => {
  const more = feed.loadMore();
  await wire().push("feed.delta", { since: 5, version: 6, counts: counts(8), items: [], removed: ["old"] });
  await wire().answer("feed.fetch", { version: 5, counts: counts(9), entries: [item("old", 0)], page_info: { after: null } });
  assert.equal(wire().heard.filter((frame) => frame[3] === "feed.fetch").length, 2);
  await wire().answer("feed.fetch", { version: 6, counts: counts(8), entries: [], page_info: { after: null } });
  assert.equal(await more, true);
  assert.deepEqual([ids(), feed.view().hasMore], [["b", "a"], false]);
});

test("what was taken back is not said again", async () => {
  const time = clock();
  const marked = feed.mark("read", ["b"]);
  const undone = feed.undo();
  assert.deepEqual(wire().heard.filter((frame) => frame[3] === "feed.mark").map((frame) => frame[4].as), ["read", "unread"]);
  await wire().answer("feed.mark", { version: 6, counts: counts(9, 3), at: "T" });
  assert.equal((await undone).ok, true);
  time.tick(10_000);
  time.reset();
  await marked;
  assert.equal(wire().heard.filter((frame) => frame[3] === "feed.mark").length, 2);
});

test("two signs of life that were asked for at once leave one timer, and nothing after the end", async () => {
  const page = /** @type {any} */ (globalThis);
  Object.assign(page, { window: new EventTarget(), document: Object.assign(new EventTarget(), { visibilityState: "visible" }) });
  await reconnect();
  await wire().answer("phx_join", { version: 5 });
  const time = clock();
  time.tick(1_001);
  for (const name of ["online", "pageshow"]) page.window.dispatchEvent(new Event(name));
  const asked = wire().heard.filter((frame) => frame[3] === "heartbeat");
  assert.equal(asked.length, 2);
  for (const frame of asked) await wire().tell([null, frame[1], "phoenix", "phx_reply", { status: "ok", response: {} }]);
  feed.stop();
  time.tick(60_000);
  await settled();
  time.tick(60_000);
  time.reset();
  assert.deepEqual([Wire.all.length, socket.state], [2, "idle"]);
  delete page.window;
  delete page.document;
});

test("a page that the server refuses is not asked for again by itself", async () => {
  const more = feed.loadMore();
  await wire().answer("feed.fetch", { code: "internal_error", reason: "ill" }, "error");
  assert.equal(await more, false);
  assert.equal(feed.view().hasFailed, true);
  void feed.loadMore();
  assert.equal(feed.view().hasFailed, false);
});

test("what no feed can be made of is refused at once", async () => {
  const options = { host: "http://x", publicKey: "pk", channel: "c", user: "u" };
  for (const name of ["host", "publicKey", "channel", "user"]) assert.throws(() => new Feed({ ...options, [name]: undefined }), new RegExp(`needs ${name}`));
  assert.throws(() => feed.mark(/** @type {any} */ ("eaten"), ["a"]), /no mark called eaten/);
  await assert.rejects(feed.markAll(/** @type {any} */ ("eaten")), /no mark called eaten/);
});

test("another token goes on with the same feed, and revives one that has stopped", async () => {
  feed.renew("t2");
  assert.deepEqual([Wire.all.length, feed.status, feed.version], [1, "live", 5]);
  const time = clock();
  wire().hangUp(4001);
  assert.equal(feed.status, "offline", "it has another token than the one that has ended");
  time.tick(1_000);
  time.reset();
  await settled();
  assert.deepEqual([Wire.all.length, wire().url.searchParams.get("user_token")], [2, "t2"]);
  wire().accept();
  wire().hangUp(4001);
  assert.equal(feed.status, "stopped");
  feed.renew("t3");
  await settled();
  assert.deepEqual([Wire.all.length, wire().url.searchParams.get("user_token"), ids()], [3, "t3", ["b", "a"]]);
});
