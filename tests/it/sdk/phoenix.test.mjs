// The socket as Phoenix's own client speaks it: joins, leaves, replies and pushes, without the feed on top.

import assert from "node:assert/strict";
import test from "node:test";
import { arrived, backend, held, place, quietly, someone, tell, until } from "./support.mjs";

const { Socket } = await import("phoenix");

/** A connected socket that keeps every frame it got. */
async function connect(t, params = { api_key: place.development.public }) {
  const frames = [];
  const socket = new Socket(`${place.url.replace("http", "ws")}/ws/v1`, { params, reconnectAfterMs: () => 60_000 });
  t.after(() => socket.disconnect());
  socket.onMessage((message) => frames.push(message));
  socket.connect();
  await until("the socket is open", () => socket.isConnected());
  return { socket, frames };
}

const topicOf = (user) => `feeds:${place.channel}:${user}`;

/** Joins and answers `["ok" | "error", response]`. */
const join = (channel) =>
  new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"]) channel.joinPush.receive(status, (body) => resolve([status, body]));
    channel.join();
  });

test("a heartbeat is answered with its own ref, before any join: F-SOC-05", async (t) => {
  const { socket, frames } = await connect(t);
  const ref = socket.makeRef();
  socket.push({ topic: "phoenix", event: "heartbeat", payload: {}, ref });
  await until("it is answered", () => frames.length > 0);
  assert.deepEqual(frames[0], {
    join_ref: null,
    ref,
    topic: "phoenix",
    event: "phx_reply",
    payload: { status: "ok", response: {} },
  });
});

test("a join with references is answered, and its new-message names them: F-SOC-06 F-SOC-14 F-SOC-15 F-SOC-16", async (t) => {
  const user = someone();
  const { socket, frames } = await connect(t);
  const channel = socket.channel(topicOf(user), {
    client_all: { archived: "exclude", mode: "compact" },
    client_north: { archived: "exclude", mode: "compact", tenant: "north" },
    client_south: { archived: "exclude", mode: "compact", tenant: "south" },
  });
  assert.deepEqual(await join(channel), ["ok", {}], "F-SOC-06");
  await tell(user, "hello", { tenant: "north" });
  await until("it is pushed", () => frames.some(({ event }) => event === "new-message"));
  const { payload, join_ref, ref } = frames.find(({ event }) => event === "new-message");
  assert.ok([null, channel.joinRef()].includes(join_ref), "F-SOC-12");
  assert.equal(ref, null);
  const one = { total_count: 1, unread_count: 1, unseen_count: 1 };
  const bare = ({ total_count, unread_count, unseen_count }) => ({ total_count, unread_count, unseen_count });
  assert.equal(payload.event, "new-message", "F-SOC-14");
  assert.deepEqual([...payload.attn].sort(), ["client_all", "client_north"], "F-SOC-15");
  assert.deepEqual(bare(payload.metadata), one, "F-SOC-16");
  for (const ref of payload.attn) assert.deepEqual(bare(payload.data[ref].metadata), one, "F-SOC-15");
});

test("a flat join is heard too: F-SOC-28", async (t) => {
  const user = someone();
  const { socket, frames } = await connect(t);
  const flat = { archived: "exclude", status: null, tenant: null, has_tenant: null, page_size: 50, trigger_data: null };
  assert.deepEqual(await join(socket.channel(topicOf(user), flat)), ["ok", {}]);
  await tell(user, "hello");
  await until("it is pushed", () => frames.some(({ event }) => event === "new-message"));
  const { payload } = frames.find(({ event }) => event === "new-message");
  assert.deepEqual([payload.attn, payload.metadata.unread_count], [[], 1], "F-SOC-28");
});

test("the item is readable when its push arrives: F-SOC-18", async (t) => {
  const user = someone();
  const { socket, frames } = await connect(t);
  await join(socket.channel(topicOf(user), {}));
  const seen = [];
  for (let number = 0; number < 5; number += 1) {
    const before = frames.length;
    await tell(user, `item ${number}`);
    await until("it is pushed", () => frames.slice(before).some(({ event }) => event === "new-message"));
    seen.push((await held(user)).names.includes(`item ${number}`));
  }
  assert.deepEqual(seen, [true, true, true, true, true]);
});

test("leaving is answered with reply then close, and nothing comes after: F-SOC-12", async (t) => {
  const user = someone();
  const { socket, frames } = await connect(t);
  const channel = socket.channel(topicOf(user), {});
  await join(channel);
  const joinRef = channel.joinRef();
  const before = frames.length;
  channel.leave();
  await until("it is closed", () => frames.some(({ event }) => event === "phx_close"));
  const [reply, close] = frames.slice(before);
  assert.deepEqual([reply.event, reply.payload.status, close.event], ["phx_reply", "ok", "phx_close"], "F-SOC-12");
  assert.deepEqual([reply.join_ref, close.join_ref, close.ref], [joinRef, joinRef, joinRef], "F-SOC-12");
  const after = frames.length;
  await tell(user, "too late");
  await arrived(user, "too late");
  socket.push({ topic: "phoenix", event: "heartbeat", payload: {}, ref: "last" });
  await until("the heartbeat is answered", () => frames.some(({ ref }) => ref === "last"));
  assert.deepEqual(frames.slice(after).map(({ topic }) => topic), ["phoenix"]);
});

test("a second join of a topic takes over, and the first is closed under its own ref: F-SOC-11", async (t) => {
  const topic = topicOf(someone());
  const { socket, frames } = await connect(t);
  const push = (ref, payload) => socket.push({ topic, event: "phx_join", payload, ref, join_ref: ref });
  push("71", { client_a: {} });
  push("72", { client_a: {}, client_b: {} });
  await until("the first is closed", () => frames.some(({ event }) => event === "phx_close"));
  const heard = frames.map(({ event, join_ref, ref }) => [event, join_ref, ref]);
  assert.deepEqual(heard, [
    ["phx_reply", "71", "71"],
    ["phx_reply", "72", "72"],
    ["phx_close", "71", "71"],
  ]);
});

test("a stale leave changes nothing for the newer join: F-SOC-11 F-SOC-12", async (t) => {
  const user = someone();
  const topic = topicOf(user);
  const { socket, frames } = await connect(t);
  socket.push({ topic, event: "phx_join", payload: {}, ref: "71", join_ref: "71" });
  socket.push({ topic, event: "phx_join", payload: {}, ref: "72", join_ref: "72" });
  await until("both are answered", () => frames.some(({ event }) => event === "phx_close"));
  socket.push({ topic, event: "phx_leave", payload: {}, ref: "73", join_ref: "71" });
  await tell(user, "hello");
  await until("it is pushed", () => frames.some(({ event }) => event === "new-message"));
  assert.equal(frames.filter(({ event, ref }) => event === "phx_close" && ref === "72").length, 0);
});

test("an unknown topic, and a push to one not joined, are answered by `unmatched topic`: F-SOC-26", async (t) => {
  const { socket, frames } = await connect(t);
  assert.deepEqual(await join(socket.channel("weather:today", {})), ["error", { reason: "unmatched topic" }], "F-SOC-26");
  socket.push({ topic: topicOf("nobody"), event: "anything", payload: {}, ref: "90", join_ref: null });
  await until("it is answered", () => frames.some(({ ref }) => ref === "90"));
  assert.deepEqual(frames.find(({ ref }) => ref === "90").payload, {
    status: "error",
    response: { reason: "unmatched topic" },
  });
  assert.ok(socket.isConnected());
});

test("an unknown channel and a malformed feed topic are refused by a reason: F-SOC-08", async (t) => {
  const { socket } = await connect(t);
  for (const topic of [`feeds:00000000-0000-4000-8000-000000000000:${someone()}`, "feeds:nonsense", "feeds:"]) {
    const [status, { reason }] = await join(socket.channel(topic, {}));
    assert.equal(status, "error", topic);
    assert.ok(reason.length > 5, `${topic}: ${reason}`);
  }
  assert.ok(socket.isConnected());
});

test("a guide topic is answered, whatever the answer: F-SOC-21", async (t) => {
  const user = someone();
  const { socket } = await connect(t);
  const [status] = await join(socket.channel(`guides:${place.channel}`, { user_id: user }));
  assert.ok(["ok", "error"].includes(status), status);
});

test("empty segments and repeated parameters in the URL are put up with: F-SOC-02", async (t) => {
  const base = `${place.url.replace("http", "ws")}/ws/v1/websocket`;
  const key = place.development.public;
  for (const query of [`?&api_key=${key}&&vsn=2.0.0`, `?vsn=2.0.0&vsn=2.0.0&api_key=${key}&user_token=`]) {
    const socket = new WebSocket(base + query);
    t.after(() => socket.close());
    await new Promise((resolve, reject) => ((socket.onopen = resolve), (socket.onerror = reject)));
  }
});

test("a secret key, an unknown key, no key and an unknown version do not open a socket: F-SOC-04", async () => {
  const base = `${place.url.replace("http", "ws")}/ws/v1/websocket`;
  const { public: key, secret } = place.development;
  for (const query of [`api_key=${secret}&vsn=2.0.0`, "api_key=pk_test_no&vsn=2.0.0", "vsn=2.0.0", `api_key=${key}&vsn=9.0.0`]) {
    const opened = await quietly(
      () =>
        new Promise((resolve) => {
          const socket = new WebSocket(`${base}?${query}`);
          socket.onopen = () => (socket.close(), resolve(true));
          socket.onerror = () => resolve(false);
        }),
    );
    assert.equal(opened, false, query.replace(secret, "sk"));
    const response = await fetch(`${place.url}/ws/v1/websocket?${query}`, {
      headers: { "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" },
    });
    assert.ok(response.status >= 400, query);
  }
});

test("our own clients get a snapshot, then what changed since: version by version", async (t) => {
  const user = someone();
  await tell(user, "first");
  await arrived(user, "first");
  const heard = (frames, event) => frames.filter((frame) => frame.event === event).map(({ payload }) => payload);
  const one = await connect(t);
  const channel = one.socket.channel(topicOf(user), { bellwire: { since: null, page_size: 50, mode: "compact" } });
  const [status, { version }] = await join(channel);
  assert.equal(status, "ok");
  await until("the snapshot comes", () => heard(one.frames, "feed.snapshot").length === 1);
  const [snapshot] = heard(one.frames, "feed.snapshot");
  assert.deepEqual(snapshot.entries.map(({ data }) => data.name), ["first"]);
  assert.equal(snapshot.counts.unread_count, 1);
  assert.ok(snapshot.version >= version);
  await tell(user, "second");
  await until("a delta comes", () => heard(one.frames, "feed.delta").some(({ items }) => items.length > 0));
  const delta = heard(one.frames, "feed.delta").find(({ items }) => items.length > 0);
  assert.deepEqual([delta.since, delta.items[0].data.name], [snapshot.version, "second"]);
  const marked = await new Promise((resolve, reject) =>
    channel
      .push("feed.mark", { as: "read", ids: [delta.items[0].id] })
      .receive("ok", resolve)
      .receive("error", (error) => reject(new Error(JSON.stringify(error)))),
  );
  assert.equal(marked.counts.unread_count, 1);
  assert.ok(marked.version > delta.version);
  assert.equal((await held(user)).unread_count, 1);
  await backend().messages.archive(delta.items[0].id);
  const late = await connect(t);
  const resumed = late.socket.channel(topicOf(user), { bellwire: { since: snapshot.version, page_size: 50 } });
  assert.equal((await join(resumed))[0], "ok");
  await until("what was missed comes", () => heard(late.frames, "feed.delta").length > 0);
  const [missed] = heard(late.frames, "feed.delta");
  assert.equal(missed.since, snapshot.version);
  assert.deepEqual(missed.removed, [delta.items[0].id], "an item that was archived left the filters");
  assert.deepEqual([missed.items, missed.counts.total_count], [[], 1]);
});
