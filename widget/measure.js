// Prints what the bell weighs, and what a busy hour costs its page, beside Knock's bell for React in the same browser and feed.
//
//   npm run measure -- [--server <binary>] [--profile <directory>] [sizes] [time] [memory]
//
// It starts `target/release/bellwire dev`, or the binary that is named, in a temporary directory, and ends it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { bundles } from "./build.js";
import { launch } from "../tests/it/browser/chromium.mjs";
import { knocksBell } from "../tests/it/browser/knock.mjs";

const { values: options, positionals } = parseArgs({ allowPositionals: true, options: { server: { type: "string" }, profile: { type: "string" } } });
const BINARY = resolve(options.server ?? fileURLToPath(new URL("../target/release/bellwire", import.meta.url)));

/** The channel that `dev` has. */
const CHANNEL = "be110000-0000-4000-8000-000000000001";
/** What one trigger makes. */
const ITEMS_OF_ONE = 10;
/** How many arrive at once, to see what that costs the page. */
const AT_ONCE = 1_000;
/** An hour of a busy reader: one item a second, each marked. */
const HOUR = 3_600;
const HANDS = 16;
/** A page that hears nothing for so long has heard all. */
const SILENCE_MS = 2_000;
const PATIENCE_MS = 180_000;

const files = await bundles();
const knock = await knocksBell();

/** The two, and how each is opened. */
const BELLS = {
  ours: {
    head: '<script type="module" src="/bell.js"></script>',
    body: ({ url, key }, user) => `<bellwire-bell host="${url}" public-key="${key}" user="${user}" channel="${CHANNEL}"></bellwire-bell>`,
    button: "bellwire-bell .bell", badge: "bellwire-bell .badge", panel: "bellwire-bell .panel", cell: "bellwire-bell article",
  },
  "@knocklabs/react": {
    head: '<link rel="stylesheet" href="/knock.css"><script type="module" src="/knock.js"></script>',
    body: ({ url, key }, user) => `<div id="knock" data-host="${url}" data-public-key="${key}" data-user="${user}" data-channel="${CHANNEL}"></div>`,
    button: ".rnf-notification-icon-button", badge: ".rnf-unseen-badge", panel: ".rnf-notification-feed-popover", cell: ".rnf-notification-cell",
  },
};

/** Prints rows under a title, each column as wide as it must be. */
function table(title, head, rows) {
  const lines = [head, ...rows].map((row) => row.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en", { maximumFractionDigits: 1 }) : cell)));
  const widths = head.map((_, at) => Math.max(...lines.map((row) => row[at].length)));
  const draw = (row) => row.map((cell, at) => (at ? cell.padStart(widths[at]) : cell.padEnd(widths[at]))).join("   ").trimEnd();
  console.log(`\n${title}\n\n${[draw(lines[0]), widths.map((width) => "-".repeat(width)).join("   "), ...lines.slice(1).map(draw)].join("\n")}`);
}

/** Says what goes on, beside what is printed. */
const note = (text) => console.error(`... ${text}`);

async function sizes() {
  const size = (text) => [Buffer.byteLength(text), gzipSync(text, { level: 9 }).length, brotliCompressSync(text).length];
  const add = (...sizes) => sizes.reduce((sum, size) => sum.map((bytes, at) => bytes + size[at]));
  const each = Object.fromEntries([...files].filter(([name]) => name !== "demo.js").map(([name, text]) => [name, size(text)]));
  const [[, heaviest]] = Object.entries(each).filter(([name]) => name.includes("/lang/")).sort(([, a], [, b]) => b[1] - a[1]);
  const opened = add(each["bell.js"], each["bell/panel.js"]);
  const all = add(opened, each["bell/preferences.js"], heaviest);
  const theirs = add(size(knock.script), size(knock.style));
  const bare = await knocksBell({ external: ["react", "react-dom", "react/jsx-runtime", "react-dom/client"] });
  const onReact = add(size(bare.script), size(bare.style));
  const times = ([, ours], [, theirs]) => `${(theirs / ours).toFixed(1)} x`;
  const row = (name, size, compared) => [name, ...size, ...(compared ? [times(size, theirs), times(size, onReact)] : ["", ""])];
  table("Size, in bytes; then how much more, gzipped, Knock's bell has, with React and on a page that has React already", ["", "raw", "gzip", "brotli", "Knock", "on React"], [
    ...Object.entries(each).map(([name, size]) => row(name, size)),
    row("at once (bell.js)", each["bell.js"], true),
    row("with the panel", opened, true),
    row("all, with the longest language", all, true),
    row("@knocklabs/react: script", size(knock.script)),
    row("@knocklabs/react: style sheet", size(knock.style)),
    row("@knocklabs/react: both", theirs),
    row("@knocklabs/react: both, without React", onReact),
  ]);
}

/** A server to measure against, without limits, and one workflow; `end` takes it away. */
async function serve() {
  const home = await mkdtemp(join(tmpdir(), "bellwire-measure-"));
  const steps = Array.from({ length: ITEMS_OF_ONE }, (_, at) => ({
    type: "channel", ref: `in_app_feed_${at + 1}`, channel_key: "in-app-feed", channel_type: "in_app_feed",
    template: { markdown_body: `**{{ data.name }}** has left comment ${at + 1} on [the plan](https://example.com/plan)`, action_url: "https://example.com/plan" },
  }));
  await mkdir(join(home, "workflows/burst"), { recursive: true });
  await writeFile(join(home, "workflows/burst/workflow.json"), JSON.stringify({ name: "Burst", steps }));
  const child = spawn(BINARY, ["dev", "--port", "0", "--data", join(home, "data"), "--workflows", join(home, "workflows")], {
    cwd: home, stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, BELLWIRE_LIMITS_ENABLED: "false" },
  });
  const ended = once(child, "exit");
  const end = async () => {
    child.kill();
    await ended;
    await rm(home, { recursive: true });
  };
  let said = "";
  for await (const text of child.stdout) {
    said += text;
    const [url, key, secret] = [/Open\s+(\S+)/, /Public key\s+(\S+)/, /Secret key\s+(\S+)/].map((line) => said.match(line)?.[1]);
    if (said.includes("Ctrl-C")) return { url, key, secret, end };
  }
  throw new Error(`${BINARY} did not start:\n${said}`);
}

/** Asks the server, and insists. */
async function ask({ url, secret }, method, path, body) {
  const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
  const answer = await fetch(`${url}/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** Does something for each of a list, a few at a time. */
async function inParallel(list, act) {
  const left = [...list];
  await Promise.all(Array.from({ length: HANDS }, async () => {
    while (left.length) await act(left.shift());
  }));
}

/** Has so many items made for a reader; resolves when the server holds them. */
async function tell(server, user, count) {
  await inParallel(Array.from({ length: count / ITEMS_OF_ONE }).keys(), (at) => ask(server, "POST", "/workflows/burst/trigger", { recipients: [user], data: { name: `Ada ${at}` } }));
  await until("the server holds them", async () => (await ask(server, "GET", `/users/${user}/feeds/${CHANNEL}?page_size=1`)).meta.total_count === count);
}

/** Marks each of a reader's items as read, one by one. */
async function markEach(server, user) {
  const ids = [];
  for (let after = ""; after !== null; ) {
    const { entries, page_info } = await ask(server, "GET", `/users/${user}/feeds/${CHANNEL}?page_size=50${after && `&after=${after}`}`);
    ids.push(...entries.map(({ id }) => id));
    after = page_info.after;
  }
  await inParallel(ids, (id) => ask(server, "PUT", `/messages/${id}/read`));
}

async function until(what, claim) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await claim())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A page with one of the bells on it, live; `page.cdp` speaks to the browser about it. */
async function visit({ browser, site, server }, name, user, isOpen) {
  const bell = BELLS[name];
  await ask(server, "PUT", `/users/${user}`, {});
  const context = await browser.newContext({ viewport: { width: 1_000, height: 800 } });
  const page = await context.newPage();
  page.lastHeard = Date.now();
  const heard = () => (page.lastHeard = Date.now());
  page.on("websocket", (socket) => socket.on("framereceived", heard));
  page.on("response", heard);
  await page.addInitScript(() => {
    globalThis.longTasks = [];
    new PerformanceObserver((list) => globalThis.longTasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
  page.cdp = await context.newCDPSession(page);
  await page.cdp.send("Performance.enable");
  site.body = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Measured</title><link rel="icon" href="data:,">${bell.head}<body style="margin:20px 20px 20px 460px">${bell.body(server, user)}</html>`;
  await page.goto(site.url);
  // What is asleep in a hidden panel wakes when it is opened once.
  await page.locator(bell.button).click();
  await page.locator(bell.panel).waitFor();
  if (!isOpen) await page.locator(bell.button).click();
  await silence(page);
  return page;
}

const silence = (page) => until("the page has heard all", () => Date.now() - page.lastHeard > SILENCE_MS);

/** Seconds that the page's main thread has spent, by what for. */
async function spent(page) {
  const { metrics } = await page.cdp.send("Performance.getMetrics");
  return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
}

async function time(setting) {
  const rows = [];
  for (const name of Object.keys(BELLS)) {
    const user = `time-${rows.length}`;
    note(`time: ${name}`);
    const page = await visit(setting, name, user, true);
    if (options.profile) await page.cdp.send("Profiler.enable").then(() => page.cdp.send("Profiler.start"));
    const before = await spent(page);
    await page.evaluate(() => (globalThis.longTasks.length = 0));
    const began = Date.now();
    await tell(setting.server, user, AT_ONCE);
    const made = Date.now() - began;
    await silence(page);
    const after = await spent(page);
    if (options.profile) {
      const { profile } = await page.cdp.send("Profiler.stop");
      await mkdir(options.profile, { recursive: true });
      await writeFile(join(options.profile, `${name.split("/").at(-1)}.cpuprofile`), JSON.stringify(profile));
    }
    const long = await page.evaluate(() => globalThis.longTasks);
    const ms = (metric) => Math.round((after[metric] - before[metric]) * 1_000);
    rows.push([
      name, made, ms("TaskDuration"), ms("ScriptDuration"), ms("LayoutDuration"), ms("RecalcStyleDuration"), after.LayoutCount - before.LayoutCount,
      long.length, Math.round(long.reduce((sum, task) => sum + task, 0)), Math.round(Math.max(0, ...long)), await page.locator(BELLS[name].cell).count(),
    ]);
    await page.context().close();
  }
  table(`Main thread, in ms, while ${AT_ONCE} items arrive, its panel open`, ["", "made in", "in all", "script", "layout", "style", "layouts", "long tasks", "their sum", "the longest", "cells"], rows);
}

/** The heap of a page in kB, without garbage; and its elements. */
async function weight(page) {
  for (let times = 0; times < 3; times++) await page.cdp.send("HeapProfiler.collectGarbage");
  const { usedSize } = await page.cdp.send("Runtime.getHeapUsage");
  const { Nodes } = await spent(page);
  return { kB: Math.round(usedSize / 1_024), nodes: Nodes };
}

async function memory(setting) {
  const rows = [];
  for (const name of Object.keys(BELLS)) {
    for (const isOpen of [false, true]) {
      const user = `memory-${rows.length}`;
      note(`memory: ${name}, ${isOpen ? "open" : "closed"}`);
      const page = await visit(setting, name, user, isOpen);
      const before = await weight(page);
      await tell(setting.server, user, HOUR);
      await silence(page);
      const told = await weight(page);
      await markEach(setting.server, user);
      await silence(page);
      await until("nothing is left on the badge", () => page.locator(BELLS[name].badge).isHidden());
      const after = await weight(page);
      rows.push([`${name}, ${isOpen ? "open" : "closed"}`, before.kB, told.kB, after.kB, after.kB - before.kB, before.nodes, after.nodes, await page.locator(BELLS[name].cell).count()]);
      await page.context().close();
    }
  }
  table(`Heap, in kB, of an hour: ${HOUR} items, then as many marks`, ["", "before", "items", "marks", "more", "nodes before", "after", "cells"], rows);
}

/** A site with one page, which is whatever is measured now, and what it loads. */
async function open() {
  const site = { body: "" };
  const scripts = new Map([...files, ["knock.js", knock.script]]);
  const server = http.createServer(({ url }, response) => {
    const name = new URL(url, "http://site").pathname.slice(1);
    const [type, text] = name === "knock.css" ? ["text/css", knock.style] : scripts.has(name) ? ["text/javascript", scripts.get(name)] : ["text/html; charset=utf-8", site.body];
    response.writeHead(200, { "content-type": type }).end(text);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return Object.assign(site, { url: `http://127.0.0.1:${server.address().port}/`, end: () => server.close() });
}

const MEASURES = { time, memory };
const wanted = positionals.length ? positionals : ["sizes", ...Object.keys(MEASURES)];

if (wanted.includes("sizes")) await sizes();
if (wanted.some((name) => MEASURES[name])) {
  const server = await serve();
  try {
    const [site, browser] = [await open(), await launch()];
    try {
      for (const [name, measure] of Object.entries(MEASURES)) if (wanted.includes(name)) await measure({ browser, site, server });
    } finally {
      await browser.close();
      site.end();
    }
  } finally {
    await server.end();
  }
}
