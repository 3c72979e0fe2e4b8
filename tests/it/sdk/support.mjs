// What every script shares: the browser's globals that the client expects, the server's address, and a wire to cut.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import net from "node:net";
import WebSocket from "ws";

// The client opens sockets in windows only. This is the environment of a page, not a change to the client.
globalThis.window ??= globalThis;
globalThis.WebSocket ??= WebSocket;
globalThis.crypto ??= webcrypto;

export { signUserToken } from "@knocklabs/node/lib/tokenSigner";

const { default: Client } = await import("@knocklabs/client");
const { default: ServerClient } = await import("@knocklabs/node");

/** Where the server is and what lets one in; the Rust test wrote it. */
export const place = JSON.parse(process.env.SDK_TEST_PLACE);

/** How long anything may take that should take milliseconds; other tests share the machine. */
const PATIENCE_MS = 30_000;

let people = 0;

/** A user id nobody else in this run has. */
export const someone = (name = "user") => `${name}-${process.pid}-${++people}`;

/** Waits until `claim` holds, and says what it waited for when it does not come. */
export async function until(what, claim, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await claim();
    if (answer) return answer;
    if (Date.now() > end) assert.fail(`waited ${patience} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

/** The server SDK in one of the environments. */
export const backend = (options = {}) =>
  new ServerClient({ apiKey: place.development.secret, baseURL: place.url, maxRetries: 0, logLevel: "off", ...options });

/** The client SDK as a page of `user` has it; it goes when the test ends. */
export function page(t, user, { token, key = place.development.public, host = place.url, ...options } = {}) {
  const client = new Client(key, { host });
  t.after(() => client.logout());
  client.authenticate(user, token, options);
  return client;
}

/** A feed that has loaded its first page and listens; `feed.now()` is what its store shows. */
export async function openFeed(client, options = {}, channel = place.channel) {
  const feed = client.feeds.initialize(channel, options);
  feed.now = () => {
    const { items, metadata } = feed.getState();
    const { total_count, unread_count, unseen_count } = metadata;
    return { names: items.map((item) => item.data.name), items, total_count, unread_count, unseen_count };
  };
  feed.listenForUpdates();
  await feed.fetch();
  const socket = client.client().socket;
  await until("the feed's topic is joined", () =>
    socket.channels.some((channel) => channel.topic === feed.socketChannelTopic && channel.state === "joined"),
  );
  return feed;
}

/** Sends each recipient an item that is called `name`; who is not known yet is identified with it. */
export const tell = (recipients, name, more = {}, client = backend()) => {
  const { workflow = "note", data, ...rest } = more;
  return client.workflows.trigger(workflow, { recipients: [recipients].flat().map((id) => ({ id })), data: { name, ...data }, ...rest });
};

/** What the server holds of a user's feed, asked from behind. */
export async function held(user, query = {}, client = backend(), channel = place.channel) {
  const response = await client.users.feeds.listItems(user, channel, query).asResponse();
  const body = await response.json();
  return { names: body.entries.map((item) => item.data.name), items: body.entries, ...body.meta };
}

/** Waits until the server holds an item called `name` for the user. */
export const arrived = (user, name) =>
  until(`${user} holds \`${name}\``, async () => (await held(user)).names.includes(name));

/** A wire between client and server that can be cut, or lose answers. */
export async function wire(t) {
  const target = new URL(place.url);
  const pairs = new Set();
  const wire = { isUp: true, connections: 0, loseAnswerTo: null, lost: 0, all: [] };
  const server = net.createServer((near) => {
    if (!wire.isUp) return near.destroy();
    wire.connections += 1;
    const far = net.connect(Number(target.port), target.hostname);
    const pair = { near, far, asked: "" };
    pairs.add(pair);
    wire.all.push(pair);
    const end = () => (near.destroy(), far.destroy(), pairs.delete(pair));
    near.on("error", end).on("close", end);
    far.on("error", end).on("close", end);
    near.on("data", (bytes) => {
      pair.asked += bytes.toString("latin1");
      far.write(bytes);
    });
    far.on("data", (bytes) => {
      if (wire.loseAnswerTo && pair.asked.includes(wire.loseAnswerTo)) {
        // The server has done what was asked; its answer never comes.
        wire.loseAnswerTo = null;
        wire.lost += 1;
        return end();
      }
      near.write(bytes);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  wire.url = `http://127.0.0.1:${server.address().port}`;
  wire.cut = () => {
    wire.isUp = false;
    for (const { near, far } of pairs) (near.destroy(), far.destroy());
    pairs.clear();
  };
  wire.mend = () => (wire.isUp = true);
  /** The first line of each request that came. */
  wire.requests = () => wire.all.flatMap(({ asked }) => asked.match(/^[A-Z]+ \S+ HTTP\/1\.1$/gm) ?? []);
  t.after(() => (wire.cut(), server.close()));
  return wire;
}

/** Runs `act` with the console silent: the client prints the errors that a scenario causes on purpose. */
export async function quietly(act) {
  const { error, warn, log } = console;
  Object.assign(console, { error() {}, warn() {}, log() {} });
  try {
    return await act();
  } finally {
    Object.assign(console, { error, warn, log });
  }
}

/** The close codes that a client's socket got. */
export function closes(client) {
  const codes = [];
  client.client().socket.onClose((event) => codes.push(event.code));
  return codes;
}
