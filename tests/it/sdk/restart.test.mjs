// The server ends and comes back; pages that were open go on. This script starts and stops the server itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import test, { after } from "node:test";
import { arrived, closes, held, openFeed, page, place, quietly, someone, tell, until } from "./support.mjs";

let server;

async function start() {
  server = spawn(place.binary, place.arguments, { cwd: place.directory, stdio: "ignore" });
  server.ended = new Promise((resolve) => server.once("exit", (code, signal) => resolve({ code, signal })));
  await until("the server answers", () => fetch(place.url).then(() => true, () => false));
}

after(() => server?.kill("SIGKILL"));

test("a restart closes sockets so that the client comes back, and nothing is missed: F-SOC-23 F-SOC-24", async (t) => {
  await start();
  const user = someone();
  const client = page(t, user);
  const feed = await openFeed(client);
  const codes = closes(client);
  await tell(user, "before");
  await until("the first is shown", () => feed.now().names.includes("before"));
  await quietly(async () => {
    const began = Date.now();
    server.kill("SIGTERM");
    const end = await server.ended;
    assert.deepEqual(end, { code: 0, signal: null }, "the server ends by itself when asked to");
    assert.ok(Date.now() - began < 15_000, "the drain has an end");
    await until("the socket is closed", () => codes.length > 0);
    assert.ok([1001, 1012].includes(codes[0]), `F-SOC-23: closed with ${codes[0]}`);
    await start();
    await tell(user, "while away");
    await arrived(user, "while away");
    await until("the item is shown", () => feed.now().names.includes("while away"), 30_000);
  });
  assert.deepEqual(feed.now().names, ["while away", "before"]);
});

test("a delay that began before a kill ends after it, once", async () => {
  const user = someone();
  await tell(user, "delayed", { workflow: "later" });
  server.kill("SIGKILL");
  await server.ended;
  await start();
  await arrived(user, "delayed");
  assert.deepEqual((await held(user)).names, ["delayed"]);
});
