// The official bell for React and ours on one page: two strangers with one reader, in step.

import assert from "node:assert/strict";
import http from "node:http";
import test, { after } from "node:test";
import { backend, held, place, someone, tell, until } from "../sdk/support.mjs";
import { picture, visit } from "./browser.mjs";
import { knocksBell } from "./knock.mjs";

const { script, style } = await knocksBell();
const { public: key } = place.development;

/** The page on which both stand; its reader is in its address. */
const html = (user) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Two bells</title>
  <link rel="icon" href="data:,"><link rel="stylesheet" href="/knock.css">
  <style>body { display: flex; justify-content: space-between; padding-inline-end: 60px } bellwire-bell { width: 420px; height: 580px }</style>
  <bellwire-bell host="${place.url}" public-key="${key}" user="${user}" channel="${place.channel}" lang="en" inline></bellwire-bell>
  <div id="knock" data-host="${place.url}" data-public-key="${key}" data-user="${user}" data-channel="${place.channel}"></div>
  <script type="module" src="${place.url}/bell.js"></script><script type="module" src="/knock.js"></script></html>`;

const FILES = { "/knock.js": ["text/javascript", script], "/knock.css": ["text/css", style] };
const site = http.createServer(({ url }, response) => {
  const [type, body] = FILES[url] ?? ["text/html; charset=utf-8", html(url.slice(1))];
  response.writeHead(200, { "content-type": type }).end(body);
});
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
after(() => site.close());

/** Visits the page, with both bells live and open. */
async function both(t, user) {
  const page = await visit(t, `http://127.0.0.1:${site.address().port}/${user}`, { viewport: { width: 1_000, height: 640 } });
  const ours = page.locator("bellwire-bell");
  const theirs = page.locator("#knock");
  page.ours = {
    cell: (name) => ours.locator("article", { hasText: name }),
    names: () => ours.locator("article strong").allTextContents(),
    badge: () => badge(ours.locator(".badge")),
    tab: (name) => ours.getByRole("tab", { name }).click(),
  };
  page.theirs = {
    cell: (name) => theirs.locator(".rnf-notification-cell", { hasText: name }),
    names: () => theirs.locator(".rnf-notification-cell strong").allTextContents(),
    badge: () => badge(theirs.locator(".rnf-unseen-badge__count")),
    unread: (name) => page.theirs.cell(name).locator(".rnf-notification-cell__unread-dot"),
    /** Has it read its list again: of what others have marked, it hears the counts alone. */
    show: (status) => theirs.getByRole("combobox").selectOption(status),
  };
  await until("ours is live", () => ours.evaluate(({ feed }) => feed?.status === "live"));
  await ours.getByRole("dialog").waitFor();
  await theirs.getByRole("button", { name: "Open notification feed" }).click();
  await theirs.getByRole("dialog", { name: "Notifications" }).waitFor();
  await theirs.getByText("No notifications yet").waitFor();
  return page;
}

/** What a badge says: nothing, for no number. */
const badge = async (locator) => ((await locator.isVisible()) ? locator.textContent() : "");

/** Waits until both badges say this, and so does the server. */
async function agreed(page, user, unread) {
  for (const bell of ["ours", "theirs"]) {
    await until(`the badge of ${bell} says ${unread}`, async () => (await page[bell].badge()) === (unread ? String(unread) : ""));
  }
  await until(`the server counts ${unread}`, async () => (await held(user)).unread_count === unread);
}

/** Waits until both lists show these, in this order. */
async function show(page, ...names) {
  for (const bell of ["ours", "theirs"]) {
    await until(`${bell} shows ${names}`, async () => (await page[bell].names()).join() === names.join());
  }
}

test("what arrives shows in both, in one order, with the same number on them", async (t) => {
  const ann = someone("ann");
  const page = await both(t, ann);
  await tell(ann, "one");
  await agreed(page, ann, 1);
  await tell(ann, "two");
  await agreed(page, ann, 2);
  await show(page, "two", "one");
  await tell(someone("bob"), "three");
  await tell(ann, "four");
  await show(page, "four", "two", "one");
  await agreed(page, ann, 3);
  await picture(page, "bell-beside-react");
});

test("what ours marks, theirs shows", async (t) => {
  const ann = someone("ann");
  const page = await both(t, ann);
  for (const name of ["one", "two", "three"]) await tell(ann, name);
  await agreed(page, ann, 3);
  const press = async (name, button) => {
    await page.ours.cell(name).hover();
    await page.ours.cell(name).getByRole("button", { name: button }).click();
  };
  await press("two", "Mark as read");
  await agreed(page, ann, 2);
  await page.theirs.show("unread");
  await until("theirs has the others", async () => (await page.theirs.names()).join() === "three,one");
  await page.theirs.show("all");
  await page.theirs.cell("two").waitFor();
  assert.deepEqual(await Promise.all(["one", "two", "three"].map((name) => page.theirs.unread(name).count())), [1, 0, 1]);
  await press("two", "Mark as unread");
  await agreed(page, ann, 3);
  await press("three", "Archive");
  await agreed(page, ann, 2);
  await page.theirs.show("unread");
  await until("theirs has let it go", async () => (await page.theirs.names()).join() === "two,one");
  await page.locator("bellwire-bell").getByRole("button", { name: "Mark all as read" }).click();
  await agreed(page, ann, 0);
});

test("what theirs marks, ours shows", async (t) => {
  const ann = someone("ann");
  const page = await both(t, ann);
  for (const name of ["one", "two", "three"]) await tell(ann, name);
  await show(page, "three", "two", "one");
  await page.theirs.cell("two").click();
  await agreed(page, ann, 2);
  await page.ours.cell("two").getByRole("button", { name: "Mark as unread" }).waitFor({ state: "attached" });
  assert.equal(await page.ours.cell("two").evaluate((cell) => cell.classList.contains("read")), true);
  await page.theirs.cell("three").getByRole("button", { name: "Archive this notification" }).click();
  await show(page, "two", "one");
  await agreed(page, ann, 1);
  await page.locator("#knock").getByRole("button", { name: "Mark all as read" }).click();
  await agreed(page, ann, 0);
  await page.ours.tab("Archived");
  await page.ours.cell("three").waitFor();
});

test("what another device marks, both show", async (t) => {
  const ann = someone("ann");
  const page = await both(t, ann);
  await tell(ann, "one");
  await agreed(page, ann, 1);
  const [{ id }] = (await held(ann)).items;
  await backend().messages.markAsRead(id);
  await agreed(page, ann, 0);
  await backend().messages.markAsUnread(id);
  await agreed(page, ann, 1);
});
