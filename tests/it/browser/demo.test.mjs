// What a newcomer sees: the page of a server in development, and whether the code on it works as it stands there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import http from "node:http";
import test, { after } from "node:test";
import { promisify } from "node:util";
import { place, until } from "../sdk/support.mjs";
import { LOOKS, faultless, fitsPhones, isStill, picture, visit } from "./browser.mjs";

const run = promisify(execFile);
/** Somebody's own site, which holds what was copied. */
let copied = "";
const site = http.createServer((_, response) => response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(copied));
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
after(() => site.close());

const demo = async (t, look) => {
  const page = await visit(t, place.url, look);
  await page.getByText(/^live, version/).nth(1).waitFor();
  return page;
};
const device = (page, name) => page.getByRole("region", { name });
/** How many items a device shows. */
const items = (page, name) => device(page, name).locator("article").count();
const rings = (page) => page.getByText(/Rang on Laptop after \d+ ms, Phone after \d+ ms|Rang on Phone after \d+ ms, Laptop after \d+ ms/).waitFor();
/** The code of a card, as it stands under a tab; copied, if the page may. */
const code = async (page, card, name) => {
  const box = page.getByRole("article", { name: card });
  await box.getByRole("tab", { name }).click();
  return box.getByRole("tabpanel", { name }).textContent();
};

test("one trigger rings both devices, and what is read on one is read on all", async (t) => {
  const page = await demo(t);
  await page.getByRole("button", { name: "Ring the bells" }).click();
  await rings(page);
  await until("both show it", async () => (await items(page, "Laptop")) === 1 && (await items(page, "Phone")) === 1);
  const badges = () => page.locator("bellwire-bell .badge:visible").allTextContents();
  await until("all three bells count it", async () => (await badges()).join() === "1,1,1");
  await until("the title does", async () => (await page.title()) === "(1) Bellwire");
  await device(page, "Phone").locator("article").hover();
  await device(page, "Phone").getByRole("button", { name: "Mark as read" }).click();
  await until("none counts it any more", async () => (await badges()).length === 0);
  await picture(page, "demo");
});

test("a device that was offline has all when it is back", async (t) => {
  const page = await demo(t);
  const [laptop, phone] = [await items(page, "Laptop"), await items(page, "Phone")];
  await device(page, "Phone").getByRole("button", { name: "Go offline" }).click();
  for (const more of [1, 2]) {
    await page.getByRole("button", { name: "Ring the bells" }).click();
    await until("the laptop rings", async () => (await items(page, "Laptop")) === laptop + more);
  }
  assert.equal(await items(page, "Phone"), phone);
  await device(page, "Phone").getByRole("button", { name: "Go online" }).click();
  await until("the phone has them", async () => (await items(page, "Phone")) === phone + 2);
});

test("the wire shows what the sockets say, whole when it is asked for", async (t) => {
  const page = await demo(t);
  await page.getByRole("button", { name: "Ring the bells" }).click();
  const frame = page.locator("#frames li").filter({ hasText: "Laptop" }).filter({ hasText: "feed.delta" }).first();
  await frame.locator("summary").click();
  const [, counts] = (await frame.locator("pre").textContent()).match(/"counts": (\{[^}]*\})/);
  assert.ok(JSON.parse(counts).unread_count >= 1, counts);
});

test("data that is none is not sent, and the page says why", async (t) => {
  const page = await demo(t);
  await page.getByLabel("Data JSON").fill("{");
  await page.getByText(/^Not sent as it stands/).waitFor();
  assert.equal(await page.getByLabel("Data JSON").getAttribute("aria-invalid"), "true");
});

test("what it says to put on a page works there", async (t) => {
  const page = await demo(t);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const box = page.getByRole("article", { name: "Put it on your page" });
  copied = await code(page, "Put it on your page", "HTML");
  await box.getByRole("button", { name: "Copy" }).click();
  await box.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), copied);
  const own = `<script type="module">${await code(page, "Put it on your page", "Your own")}</script>`;
  const at = `http://127.0.0.1:${site.address().port}`;
  const feeds = { prepare: (page) => page.addInitScript(() => (globalThis.told = [], console.log = (count) => globalThis.told.push(count))), forgive: /favicon/ };
  const bell = await visit(t, `${at}/bell`, { forgive: /favicon/ });
  await until("the bell is live", () => bell.evaluate(() => document.querySelector("bellwire-bell").feed?.status === "live"));
  copied = own;
  const headless = await visit(t, `${at}/own`, feeds);
  await until("the feed is live", () => headless.evaluate(() => globalThis.told.length > 0));
  const count = () => bell.evaluate(() => document.querySelector("bellwire-bell").feed.counts.unread_count);
  const before = await count();
  await page.getByRole("button", { name: "Ring the bells" }).click();
  await until("it rings there", async () => (await count()) === before + 1);
  await until("and there", async () => (await headless.evaluate(() => globalThis.told.at(-1))) === before + 1);
});

test("what it says to trigger with triggers what the form says", async (t) => {
  const page = await demo(t);
  await page.getByLabel("Workflow", { exact: true }).selectOption("comment");
  const words = "It’s “done”: 'true' or null? \\ $HOME $(ls)";
  await page.getByLabel("Data JSON").fill(JSON.stringify({ page_name: "Plan", comment: words, url: "https://example.com", draft: true, parent: null }));
  const commands = {
    curl: (code) => run("bash", ["-c", `${code} --fail --silent --show-error`]),
    Node: (code) => run("node", ["--input-type=module", "-e", code]),
    Python: (code) => run(".venv/bin/python", ["-c", code]),
  };
  for (const [name, command] of Object.entries(commands)) {
    const before = await items(page, "Laptop");
    await command(await code(page, "Trigger it from anywhere", name));
    await until(`${name} has rung`, async () => (await items(page, "Laptop")) === before + 1);
    const told = await device(page, "Laptop").locator("article").first().textContent();
    assert.ok(told.includes(words), told);
  }
});

for (const [name, look] of Object.entries(LOOKS)) {
  test(`it has no barriers: ${name}`, async (t) => {
    const page = await demo(t, look);
    // More frames than there is room for would be scrolled, and axe-core can't tell what is behind those.
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByRole("button", { name: "Ring the bells" }).click();
    await rings(page);
    // What has just come is coloured for a moment.
    await page.evaluate(() => Promise.all([...document.querySelectorAll("bellwire-bell")].flatMap(({ shadowRoot }) => shadowRoot.getAnimations().map((one) => one.finished))));
    await faultless(page);
    await fitsPhones(page);
    if (name === "reduced-motion") await isStill(page);
    await picture(page, `demo-${name}`);
  });
}
