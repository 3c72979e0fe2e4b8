// The bell as pages have it: one element on somebody's page under a strict policy, against the real server.

import assert from "node:assert/strict";
import http from "node:http";
import test, { after } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { backend, held, place, signUserToken, someone, tell, until, wire } from "../sdk/support.mjs";
import { LOOKS, faultless, picture, visit } from "./browser.mjs";

/** Another site; browsers trust it as they do one with a certificate, for it is on this machine. */
const visits = new Map();
const site = http.createServer(({ url }, response) => {
  const { headers, body } = visits.get(url) ?? { headers: {}, body: "" };
  response.writeHead(200, headers).end(body);
});
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
after(() => site.close());
const SHOP = `http://127.0.0.1:${site.address().port}`;
/** When a wire is cut, browsers say so themselves. */
const CUT = /WebSocket connection to|ERR_CONNECTION_RE|net::ERR_/;

/** The page of a shop on which somebody's bell stands; `attributes` are the bell's. */
function html(user, { host = place.url, lang = "en", dir = "ltr", ...attributes } = {}) {
  const all = { host, "public-key": place.development.public, user, channel: place.channel, ...attributes };
  const spelled = Object.entries(all).map(([name, value]) => `${name}="${String(value).replaceAll('"', "&quot;")}"`);
  return `<!doctype html><html lang="${lang}" dir="${dir}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
    <meta name="color-scheme" content="light dark"><title>Shop</title><link rel="icon" href="data:,">
    <header><bellwire-bell ${spelled.join(" ")}></bellwire-bell></header><main><h1>Shop</h1><a href="#a">A link</a></main>
    <script type="module" src="${host}/bell.js"></script></html>`;
}

/** Visits the shop. Its policy lets in no inline script and no inline style, and speaks to the notification server alone. */
async function shop(t, user, { beside, prepare, forgive, look, sandbox, ...attributes } = {}) {
  const host = attributes.host ?? place.url;
  const policy = `${sandbox ? "sandbox allow-scripts; " : ""}default-src 'none'; script-src ${host}; connect-src ${host} ${host.replace("http", "ws")}; img-src data: https:; media-src 'self'; require-trusted-types-for 'script'`;
  const headers = { "content-type": "text/html; charset=utf-8", "content-security-policy": policy };
  const path = `/${visits.size}`;
  visits.set(path, { headers, body: html(user, attributes) });
  const page = await visit(t, SHOP + path, {
    beside, forgive, ...look,
    prepare: async (page) => {
      page.sockets = [];
      page.on("websocket", (socket) => page.sockets.push(socket));
      await prepare?.(page);
    },
  });
  page.bell = page.locator("bellwire-bell");
  page.items = page.bell.locator("article");
  page.badge = page.bell.locator(".badge");
  /** What its feed holds. */
  page.feed = () => page.evaluate(() => {
    const { feed } = document.querySelector("bellwire-bell");
    const { status, version, problem, counts } = feed;
    const views = Object.fromEntries(feed.views.map((name) => [name, feed.view(name).counts]));
    return { status, version, problem, counts, views, leads: !feed.line.isRelayed, names: feed.items.map((item) => item.data?.name), read: feed.items.map((item) => !!item.read_at) };
  });
  return page;
}

/** Waits until the bell has a live feed. */
const live = (page) => until("the bell is live", async () => (await page.feed()).status === "live");
/** Waits until the bell's badge says this: nothing, for no number. */
const badge = (page, text) => until(`the badge says ${text}`, async () => ((await page.badge.isVisible()) ? await page.badge.textContent() : "") === text);
const open = async (page) => {
  await page.bell.getByRole("button", { name: /^Notifications/ }).click();
  await page.bell.getByRole("dialog").waitFor();
};
const tab = (page, name) => page.bell.getByRole("tab", { name });
/** To be prepared with: whether somebody sees a page is what a test says with `hide`. */
const seenAtWill = (page) => page.addInitScript(() => {
  let isHidden = false;
  Object.defineProperty(document, "visibilityState", { get: () => (isHidden ? "hidden" : "visible") });
  globalThis.hide = (how) => ((isHidden = how), document.dispatchEvent(new Event("visibilitychange")));
});
const hide = (page, isHidden) => page.evaluate((isHidden) => globalThis.hide(isHidden), isHidden);
/** Whether the browser keeps a copy of a user's feed. */
const isKept = (page, user) => page.evaluate((user) => new Promise((resolve) => {
  indexedDB.open("bellwire").onsuccess = ({ target }) => {
    const keys = target.result.transaction("feeds").objectStore("feeds").getAllKeys();
    keys.onsuccess = () => (target.result.close(), resolve(keys.result.some(([place]) => place.includes(user))));
  };
}), user);
const says = (page, text) => page.bell.getByText(text, { exact: false }).first().waitFor();
/** The element in the bell that has the focus. */
const focused = (page) => page.evaluate(() => document.querySelector("bellwire-bell").shadowRoot.activeElement?.getAttribute("aria-label") ?? document.querySelector("bellwire-bell").shadowRoot.activeElement?.localName);

test("an item shows on every device of its reader at once, and what one marks the other shows", async (t) => {
  const [ann, bob] = [someone("ann"), someone("bob")];
  const [laptop, phone, other] = await Promise.all([shop(t, ann), shop(t, ann), shop(t, bob)]);
  await Promise.all([laptop, phone, other].map(live));
  await tell(ann, "one");
  await Promise.all([badge(laptop, "1"), badge(phone, "1")]);
  await open(laptop);
  await says(laptop, "Hello one");
  assert.deepEqual((await other.feed()).names, [], "another user is told nothing");
  await laptop.items.first().getByRole("button", { name: "Mark as read" }).click();
  await Promise.all([badge(laptop, ""), badge(phone, "")]);
  await open(phone);
  await phone.items.first().hover();
  await phone.items.first().getByRole("button", { name: "Mark as unread" }).click();
  await Promise.all([badge(laptop, "1"), badge(phone, "1")]);
  await phone.items.first().getByRole("button", { name: "Archive" }).click();
  await until("it has left the laptop", async () => (await laptop.items.count()) === 0);
  await tab(laptop, "Archived").click();
  await says(laptop, "Hello one");
});

test("what has been in view for a moment is seen", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann);
  await tell(ann, "one");
  await badge(page, "1");
  assert.equal((await held(ann)).unseen_count, 1, "a badge is not a look");
  await open(page);
  await until("it is seen", async () => (await held(ann)).unseen_count === 0);
  assert.equal((await held(ann)).unread_count, 1, "seen is not read");
});

test("what stands in view is seen when somebody comes back to the page", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann, { inline: "", prepare: async (page) => (await seenAtWill(page), page.clock.install()) });
  await live(page);
  await hide(page, true);
  await tell(ann, "one");
  await says(page, "Hello one");
  await page.clock.runFor(5_000);
  assert.equal((await held(ann)).unseen_count, 1, "nobody has looked");
  await hide(page, false);
  await page.clock.runFor(2_000);
  await until("it is seen", async () => (await held(ann)).unseen_count === 0);
});

test("a list below the fold has not been seen", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann, { inline: "", prepare: (page) => page.clock.install() });
  await live(page);
  await page.bell.evaluate((bell) => (bell.style.cssText = "display: block; margin-top: 3000px"));
  await tell(ann, "one");
  await until("it is there", async () => (await page.items.count()) === 1);
  await page.clock.runFor(5_000);
  assert.equal((await held(ann)).unseen_count, 1, "nobody has scrolled so far");
  await page.items.first().scrollIntoViewIfNeeded();
  await until("it is seen", async () => (await page.clock.runFor(500), (await held(ann)).unseen_count === 0));
});

test("all that a tab holds is marked, also what was never loaded, and undone exactly", async (t) => {
  const ann = someone("ann");
  await flood(ann, 7);
  const page = await shop(t, ann);
  await badge(page, "70");
  await open(page);
  const [first, second] = (await page.evaluate(() => document.querySelector("bellwire-bell").feed.items.slice(0, 2).map(({ id }) => id)));
  await backend().messages.markAsRead(first);
  await backend().messages.markAsRead(second);
  await badge(page, "68");
  await page.bell.getByRole("button", { name: "Mark all as read" }).click();
  await badge(page, "");
  await until("the server holds it", async () => (await held(ann)).unread_count === 0);
  await page.bell.getByRole("button", { name: "Undo" }).click();
  await badge(page, "68");
  await until("the server holds what was before", async () => (await held(ann)).unread_count === 68);
  await tab(page, /^All/).click();
  await page.items.first().getByRole("button", { name: "Archive" }).click();
  await until("it is archived", async () => (await held(ann)).total_count === 69);
  await page.bell.getByRole("button", { name: "Undo" }).click();
  await until("it is back", async () => (await held(ann)).total_count === 70);
});

test("marks made while offline show at once, are kept if the page is closed, and reach the server", async (t) => {
  const ann = someone("ann");
  const line = await wire(t);
  await tell(ann, "one");
  const page = await shop(t, ann, { host: line.url, forgive: CUT });
  await badge(page, "1");
  await open(page);
  await page.items.first().waitFor();
  line.cut();
  await says(page, "Offline. Trying again.");
  await picture(page, "bell-offline");
  await page.items.first().getByRole("button", { name: "Mark as read" }).click();
  await badge(page, "");
  assert.equal((await held(ann)).unread_count, 1, "the server has heard nothing yet");
  await tell(ann, "two");
  line.mend();
  await until("it is live again, and has what came", async () => (await page.feed()).names.join() === "two,one");
  await until("the mark has arrived", async () => (await held(ann)).unread_count === 1);
  line.cut();
  await until("it has noticed", async () => (await page.feed()).status === "offline");
  await page.items.first().getByRole("button", { name: "Mark as read" }).click();
  await badge(page, "");
  const next = await shop(t, ann, { host: place.url, beside: page });
  await page.close();
  await live(next);
  assert.equal((await held(ann)).unread_count, 1, "another address is another server");
  line.mend();
  const back = await shop(t, ann, { host: line.url, beside: next, forgive: CUT });
  await live(back);
  await until("the mark has outlived its page", async () => (await held(ann)).unread_count === 0);
});

test("a refused mark is taken back, and says why", async (t) => {
  const ann = someone("ann");
  await tell(ann, "one");
  const page = await shop(t, ann);
  await badge(page, "1");
  await open(page);
  await page.items.first().waitFor();
  const shown = await page.evaluate(async () => {
    const { feed } = document.querySelector("bellwire-bell");
    const outcome = feed.mark("interacted", [feed.items[0].id], { nested: {} });
    const before = feed.counts.unread_count;
    await outcome;
    return [before, feed.counts.unread_count];
  });
  assert.deepEqual(shown, [0, 1], "it shows at once, and is taken back");
  await says(page, "That did not work: metadata");
  await badge(page, "1");
});

test("a token is renewed before it ends", async (t) => {
  const ann = someone("ann");
  const { signing, public: key } = place.production;
  const short = await signUserToken(ann, { signingKey: signing, expiresInSeconds: 150 });
  const long = await signUserToken(ann, { signingKey: signing, expiresInSeconds: 3_600 });
  const page = await shop(t, ann, {
    "public-key": key, token: short,
    prepare: async (page) => {
      await page.exposeFunction("freshToken", () => long);
      await page.addInitScript(() => document.addEventListener("DOMContentLoaded", () => (document.querySelector("bellwire-bell").refreshToken = () => globalThis.freshToken())));
      await page.clock.install();
    },
  });
  await live(page);
  assert.match(page.sockets[0].url(), new RegExp(short));
  await page.clock.fastForward("01:40");
  await until("it has dialled with another", () => page.sockets.some((socket) => socket.url().includes(long)));
  await live(page);
});

test("a token that has ended and cannot be renewed stops the bell, which says why", async (t) => {
  const ann = someone("ann");
  const { signing, public: key } = place.production;
  // A minute more is granted to clocks that differ.
  const token = await signUserToken(ann, { signingKey: signing, expiresInSeconds: -57 });
  const page = await shop(t, ann, { "public-key": key, token, inline: "", forgive: /Bellwire: The user/ });
  await live(page);
  await says(page, "Disconnected. The user's token has ended.");
  await picture(page, "bell-stopped");
});

test("a key that lets nobody in is told, with what is wrong with it", async (t) => {
  const forgive = /WebSocket|status of 401|Bellwire: /;
  const unknown = await shop(t, someone("ann"), { "public-key": "pk_nobody", inline: "", forgive });
  await says(unknown, "The server refused this feed: The API key is not known here");
  const secret = await shop(t, someone("ann"), { "public-key": place.development.secret, inline: "", forgive });
  await says(secret, "This is a secret key, which must not be on a page");
  assert.equal(secret.sockets.length, 0, "it has not left the page");
  const token = await signUserToken(someone("bob"), { signingKey: place.production.signing, expiresInSeconds: -3_600 });
  const ended = await shop(t, someone("ann"), { "public-key": place.production.public, token, inline: "", forgive });
  await says(ended, "The server refused this feed: ");
  assert.notEqual((await ended.feed()).problem, "");
});

test("a bell that is moved works where it comes to stand, and takes no focus", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann);
  await live(page);
  await open(page);
  await page.evaluate(async () => {
    const bell = document.querySelector("bellwire-bell");
    bell.remove();
    await bell.open();
    document.querySelector("a").focus();
    document.querySelector("main").append(bell);
  });
  await live(page);
  assert.equal(await page.evaluate(() => document.activeElement.localName), "a");
  assert.equal(await page.bell.getByRole("dialog").count(), 0);
  await open(page);
  await tell(ann, "one");
  await says(page, "Hello one");
});

test("a tab that opens later has what came since the first has joined", async (t) => {
  const ann = someone("ann");
  const first = await shop(t, ann);
  await live(first);
  await until("a copy is kept", () => isKept(first, ann));
  await tell(ann, "one");
  await badge(first, "1");
  const second = await shop(t, ann, { beside: first });
  await until("it has it", async () => (await second.feed()).names.join() === "one");
  assert.equal(second.sockets.length, 0);
});

test("the tabs of a browser share one socket, and the next takes over when its tab goes", async (t) => {
  const ann = someone("ann");
  const first = await shop(t, ann);
  await live(first);
  const [second, third] = [await shop(t, ann, { beside: first }), await shop(t, ann, { beside: first })];
  await Promise.all([live(second), live(third)]);
  assert.deepEqual([first, second, third].map(({ sockets }) => sockets.length), [1, 0, 0]);
  await tell(ann, "one");
  await Promise.all([first, second, third].map((page) => badge(page, "1")));
  await open(second);
  await second.items.first().getByRole("button", { name: "Mark as read" }).click();
  await Promise.all([first, third].map((page) => badge(page, "")));
  await first.close();
  await until("another leads", async () => (await Promise.all([second, third].map((page) => page.feed()))).some(({ leads }) => leads));
  await tell(ann, "two");
  await Promise.all([second, third].map((page) => badge(page, "1")));
  assert.equal(second.sockets.length + third.sockets.length, 1);
});

test("a bell without sharing has a socket of its own", async (t) => {
  const ann = someone("ann");
  const first = await shop(t, ann, { "no-share": "" });
  const second = await shop(t, ann, { "no-share": "", beside: first });
  await Promise.all([live(first), live(second)]);
  assert.deepEqual([first, second].map(({ sockets }) => sockets.length), [1, 1]);
});

test("a copy shows before the server answers, and never to somebody else", async (t) => {
  const [ann, bob] = [someone("ann"), someone("bob")];
  await tell(ann, "one");
  const first = await shop(t, ann);
  await badge(first, "1");
  await until("a copy is kept", () => isKept(first, ann));
  const silent = { prepare: (page) => page.routeWebSocket(/./, () => {}) };
  const second = await shop(t, ann, { beside: first, "no-share": "", ...silent });
  await badge(second, "1");
  assert.notEqual((await second.feed()).status, "live");
  const third = await shop(t, bob, { beside: first, "no-share": "", ...silent });
  await until("it has looked", async () => (await third.feed()).status !== "idle");
  assert.deepEqual((await third.feed()).names, []);
  await until("what was kept of another is gone", async () => !(await isKept(first, ann)));
});

test("without a copy nothing is kept", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann, { "no-store": "" });
  await tell(ann, "one");
  await badge(page, "1");
  assert.deepEqual(await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name)), []);
});

test("a keyboard is enough", async (t) => {
  const ann = someone("ann");
  await flood(ann, 1);
  const page = await shop(t, ann);
  await badge(page, "10");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.items.first().waitFor();
  for (let presses = 0; presses < 12 && (await focused(page)) !== "article"; presses++) await page.keyboard.press("Tab");
  assert.equal(await focused(page), "article");
  await page.keyboard.press("r");
  await badge(page, "9");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("x");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("x");
  await says(page, "2 selected");
  await page.keyboard.press("r");
  await badge(page, "7");
  await page.keyboard.press("z");
  await badge(page, "9");
  await page.keyboard.press("Home");
  await page.keyboard.press("e");
  await until("it is archived", async () => (await held(ann)).total_count === 9);
  assert.equal(await focused(page), "article", "the next one has the focus");
  await page.keyboard.press("Escape");
  await until("the bell has the focus again", async () => /^Notifications/.test(await focused(page)));
  assert.equal(await page.bell.getByRole("dialog").isVisible(), false);
  await page.keyboard.press("Enter");
  const seen = new Set();
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    seen.add(await focused(page));
  }
  assert.ok(!seen.has(undefined) && !seen.has(null), "Tab has left the open panel");
  await tab(page, /^All/).focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await tab(page, /^Unread/).getAttribute("aria-selected"), "true");
});

test("links and buttons lead where they say, are told to the page, and count as read", async (t) => {
  const ann = someone("ann");
  await tell(ann, "Shall we?", { workflow: "ask" });
  await tell(ann, "one");
  const page = await shop(t, ann, { prepare: (page) => page.addInitScript(() => {
    globalThis.told = [];
    for (const name of ["item-click", "action-click"]) addEventListener(name, (event) => globalThis.told.push([name, event.detail.button?.name ?? event.detail.link]));
  }) });
  await badge(page, "2");
  await open(page);
  await page.bell.getByRole("link", { name: "Accept" }).click();
  await badge(page, "1");
  assert.equal(new URL(page.url()).hash, "#accept");
  await page.evaluate(() => addEventListener("item-click", (event) => event.preventDefault()));
  await page.items.first().click({ position: { x: 200, y: 20 } });
  await badge(page, "");
  assert.deepEqual(await page.evaluate(() => globalThis.told), [["action-click", "primary"], ["item-click", `${SHOP}/items/one`]]);
  assert.notEqual(new URL(page.url()).pathname, "/items/one", "a page that handles a click stays");
  await until("the server has it", async () => (await held(ann)).items.every((item) => item.interacted_at));
});

test("what arrives shows as a toast and in the title, if the page wants it", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann, { toasts: "", "title-badge": "" });
  await live(page);
  await tell(ann, "one");
  await page.bell.locator(".toast").getByText("Hello one").waitFor();
  await until("the title counts", async () => (await page.title()) === "(1) Shop");
  await faultless(page, "bellwire-bell");
  await picture(page, "bell-toast");
  await page.bell.locator(".toast").getByRole("button", { name: "Close" }).click();
  assert.equal(await page.bell.locator(".toast").count(), 0);
});

test("what arrives is heard when the page has been touched: a chime, or a sound of the page's", async (t) => {
  const ann = someone("ann");
  const samples = Buffer.alloc(800, 128);
  const head = Buffer.from("RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0", "latin1");
  head.writeUInt32LE(36 + samples.length, 4);
  head.writeUInt32LE(samples.length, 40);
  visits.set("/ding.wav", { headers: { "content-type": "audio/wav" }, body: Buffer.concat([head, samples]) });
  const listen = (page) => page.addInitScript(() => {
    globalThis.heard = [];
    const { start } = OscillatorNode.prototype;
    OscillatorNode.prototype.start = function (...at) {
      globalThis.heard.push(Math.round(this.frequency.value));
      return start.apply(this, at);
    };
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function () {
      this.onended = () => globalThis.heard.push(new URL(this.src).pathname);
      return play.call(this);
    };
  });
  const heard = (page) => page.evaluate(() => globalThis.heard.join());
  const all = await Promise.all([{ sound: "" }, { sound: "/ding.wav" }, {}].map((how) => shop(t, ann, { ...how, prepare: listen })));
  await Promise.all(all.map(live));
  const [chimes, dings, silent] = all;
  // Browsers let a page be heard when it has been touched.
  for (const page of all) await page.getByRole("heading", { name: "Shop" }).click();
  await tell(ann, "one");
  await until("a chime is heard, once", async () => (await heard(chimes)) === "880,1175");
  await until("the page's own sound is", async () => (await heard(dings)) === "/ding.wav");
  await badge(silent, "1");
  assert.equal(await heard(silent), "");
});

test("the browser notifies once of what arrives while nobody sees any tab", async (t) => {
  const ann = someone("ann");
  const prepare = async (page) => {
    await page.context().grantPermissions(["notifications"]);
    await seenAtWill(page);
    await page.addInitScript(() => {
      globalThis.told = [];
      globalThis.Notification = class extends Notification {
        constructor(title, options) {
          super(title, options);
          globalThis.told.push([title, options.body, this]);
        }
      };
    });
  };
  const first = await shop(t, ann, { notifications: "", prepare });
  await live(first);
  const second = await shop(t, ann, { notifications: "", prepare, beside: first });
  await live(second);
  await Promise.all([first, second].map((page) => page.bell.locator(".panel").waitFor({ state: "attached" })));
  const told = async () => (await Promise.all([first, second].map((page) => page.evaluate(() => globalThis.told.map(([title, body]) => `${title}: ${body}`))))).map((all) => all.join());
  await hide(first, true);
  await tell(ann, "one", { actor: { id: "sam", name: "Sam Okoro" } });
  await Promise.all([badge(first, "1"), badge(second, "1")]);
  const isWatched = () => first.evaluate(() => document.querySelector("bellwire-bell").feed.line.isWatched());
  assert.equal(await isWatched(), true, "somebody sees the second");
  await hide(second, true);
  await tell(ann, "two", { actor: { id: "sam", name: "Sam Okoro" } });
  await until("one of them has notified, of the second alone", async () => (await told()).join("|") === "Sam Okoro: Hello two|");
  await first.evaluate(() => globalThis.told[0][2].onclick());
  await until("it has led where the item does", () => first.url() === `${SHOP}/items/two`);
  await until("that counts as read", async () => (await held(ann)).items.find(({ data }) => data.name === "two").read_at !== null);
});

test("preferences are switches that say at once what is wanted", async (t) => {
  const ann = someone("ann");
  await backend().users.update(ann, {});
  const conditions = [{ variable: "data.amount", operator: "greater_than", argument: 100 }];
  await backend().users.setPreferences(ann, "default", {
    categories: { "product-news": true, billing: { conditions } }, workflows: { note: { channel_types: { email: true, sms: false } } },
  });
  const chosen = () => backend().users.getPreferences(ann, "default");
  const page = await shop(t, ann, { preferences: "" });
  await live(page);
  await open(page);
  await page.bell.getByRole("button", { name: "Preferences" }).click();
  const toggle = (name) => page.bell.getByRole("switch", { name });
  await toggle("Product news").waitFor();
  assert.deepEqual(await Promise.all(["Product news", "Billing", "Note: Email", "Note: Sms"].map((name) => toggle(name).isChecked())), [true, true, true, false]);
  await faultless(page, "bellwire-bell");
  await picture(page, "bell-preferences");
  await toggle("Product news").click();
  await until("news are off", async () => (await chosen()).categories["product-news"] === false);
  await toggle("Note: Sms").click();
  await until("a way is on", async () => (await chosen()).workflows.note.channel_types.sms === true);
  assert.equal((await chosen()).workflows.note.channel_types.email, true, "the other way stays");
  await toggle("Billing").click();
  await until("billing is off", async () => (await chosen()).categories.billing === false);
  await toggle("Billing").click();
  await until("a condition comes back as it was", async () => isDeepStrictEqual((await chosen()).categories.billing.conditions, conditions));
  await page.keyboard.press("Escape");
  await page.bell.getByRole("heading", { name: "Notifications" }).waitFor();
});

test("another token goes on where the first one was", async (t) => {
  const ann = someone("ann");
  const { signing, public: key } = place.production;
  const [first, second] = await Promise.all([-57, 3_600].map((expiresInSeconds) => signUserToken(ann, { signingKey: signing, expiresInSeconds })));
  const page = await shop(t, ann, { "public-key": key, token: first, inline: "", forgive: /Bellwire: The user/ });
  await live(page);
  await tab(page, "Archived").click();
  await says(page, "Disconnected. The user's token has ended.");
  await page.evaluate((token) => document.querySelector("bellwire-bell").setAttribute("token", token), second);
  await live(page);
  assert.equal(await tab(page, "Archived").getAttribute("aria-selected"), "true");
});

test("an item that comes again with other words keeps working, and one item at a time is in the tab order", async (t) => {
  const ann = someone("ann");
  await tell(ann, "other");
  await tell(ann, "one", { workflow: "build", data: { build: "7" } });
  const page = await shop(t, ann);
  await badge(page, "2");
  await open(page);
  await page.items.getByText("one").waitFor();
  await tell(ann, "two", { workflow: "build", data: { build: "7" } });
  await page.items.getByText("two").waitFor();
  assert.equal(await page.items.count(), 2);
  const item = page.items.filter({ hasText: "two" });
  for (const [name, text] of [["Mark as read", "1"], ["Mark as unread", "2"], ["Mark as read", "1"]]) {
    await item.hover();
    await item.getByRole("button", { name }).click();
    await badge(page, text);
  }
  const stops = () => page.items.evaluateAll((cells) => cells.map((cell) => [cell, ...cell.querySelectorAll("button")].map(({ tabIndex }) => tabIndex).join()));
  await page.items.nth(1).focus();
  await until("the second item has the stops", async () => (await stops()).join(" ") === "-1,-1,-1,-1 0,0,0,0");
});

test("where tabs may share nothing each has a socket of its own", async (t) => {
  const ann = someone("ann");
  const page = await shop(t, ann, { sandbox: true });
  await tell(ann, "one");
  await badge(page, "1");
  assert.equal(page.sockets.length, 1);
});

test("what markup an item brings is made harmless", async (t) => {
  const ann = someone("ann");
  const name = `<img src=x onerror="globalThis.hit=1"><script>globalThis.hit=1</script>[x](javascript:globalThis.hit=1)<a href="javascript:globalThis.hit=1">y</a><iframe src="https://example.com"></iframe>`;
  await tell(ann, name, { workflow: "ask" });
  const page = await shop(t, ann, { forgive: /Loading the image/ });
  await badge(page, "1");
  await open(page);
  await page.items.first().waitFor();
  const found = await page.items.first().evaluate((node) => [...node.querySelectorAll("*")].filter((one) => ["script", "iframe"].includes(one.localName) || [...one.attributes].some(({ name, value }) => name.startsWith("on") || value.startsWith("javascript:"))).map((one) => one.outerHTML));
  assert.deepEqual(found, []);
  assert.equal(await page.evaluate(() => globalThis.hit), undefined);
});

test("ten thousand items are scrolled through with few elements", async (t) => {
  const ann = someone("ann");
  await flood(ann, 1_000);
  const page = await shop(t, ann);
  await until("they are counted", async () => (await page.feed()).counts?.total_count === 10_000, 60_000);
  await open(page);
  await page.items.first().waitFor();
  const most = await page.evaluate(async () => {
    const { feed, shadowRoot } = document.querySelector("bellwire-bell");
    const scroller = shadowRoot.querySelector(".list");
    let most = 0;
    const end = Date.now() + 90_000;
    while ((feed.items.length < 10_000 || feed.view().hasMore) && Date.now() < end) {
      scroller.scrollTop = scroller.scrollHeight;
      await new Promise(requestAnimationFrame);
      most = Math.max(most, shadowRoot.querySelectorAll("article").length);
    }
    return most;
  });
  const { names } = await page.feed();
  assert.equal(names.length, 10_000);
  assert.ok(most <= 300, `${most} cells at once`);
  assert.ok(await page.evaluate(() => document.querySelector("bellwire-bell").shadowRoot.querySelectorAll("article").length) >= 5, "the end of the list shows");
});

const OF_LANGUAGES = { de: "Benachrichtigungen", fr: "Notifications", es: "Notificaciones", ja: "通知", ar: "الإشعارات" };

for (const [lang, title] of Object.entries(OF_LANGUAGES)) {
  test(`it speaks ${lang}`, async (t) => {
    const page = await shop(t, someone("ann"), { lang, dir: lang === "ar" ? "rtl" : "ltr", inline: "" });
    await page.bell.getByRole("heading", { name: title }).waitFor();
    assert.equal(await page.bell.locator(".frame").evaluate((frame) => getComputedStyle(frame).direction), lang === "ar" ? "rtl" : "ltr");
  });
}

test("where there are no texts of a language, times are told in that of the texts", async (t) => {
  const ann = someone("ann");
  await tell(ann, "one");
  const page = await shop(t, ann, { lang: "pt", inline: "" });
  await page.items.first().waitFor();
  assert.equal(await page.items.first().locator("time").textContent(), "now");
});

const SIGHTS = { ...Object.fromEntries(Object.entries(LOOKS).map(([name, look]) => [name, { look }])), rtl: { lang: "ar", dir: "rtl" }, phone: { look: { viewport: { width: 360, height: 700 } } } };

for (const [name, sight] of Object.entries(SIGHTS)) {
  test(`it has no barriers: ${name}`, async (t) => {
    const ann = someone("ann");
    const page = await shop(t, ann, { preferences: "", ...sight });
    await live(page);
    await page.bell.locator(".bell").click();
    await page.bell.locator(".empty").waitFor();
    await faultless(page, "bellwire-bell");
    await picture(page, `bell-empty-${name}`);
    await tell(ann, "Shall **we** meet at [nine](https://example.com)?", { workflow: "ask", actor: { id: "sam", name: "Sam Okoro" } });
    for (const [at, one] of ["one", "two", "three"].entries()) {
      await tell(ann, one, { actor: { id: `friend-${at}`, name: ["Ada Lovelace", "Grace Hopper", "Katherine Johnson"][at] } });
    }
    await until("they are there", async () => (await page.items.count()) === 4);
    await page.evaluate(() => Promise.all(document.querySelector("bellwire-bell").shadowRoot.getAnimations().map((one) => one.finished)));
    await faultless(page, "bellwire-bell");
    await picture(page, `bell-open-${name}`);
    await page.items.nth(1).focus();
    await page.keyboard.press("x");
    await page.items.nth(2).focus();
    await page.keyboard.press("r");
    await page.bell.locator(".snack").waitFor();
    await page.items.nth(3).focus();
    await page.keyboard.press("x");
    await page.evaluate(() => Promise.all(document.querySelector("bellwire-bell").shadowRoot.getAnimations().map((one) => one.finished)));
    await faultless(page, "bellwire-bell");
    await picture(page, `bell-selected-${name}`);
  });
}

/** Tells a user `times` ten things. */
async function flood(user, times) {
  await backend().users.update(user, {});
  const hands = Array.from({ length: 16 }, async (_, hand) => {
    for (let at = hand; at < times; at += 16) await backend().workflows.trigger("flood", { recipients: [user], data: { name: `flood ${at}` } });
  });
  await Promise.all(hands);
  await until("all is there", async () => (await held(user)).total_count === times * 10, 60_000);
}
