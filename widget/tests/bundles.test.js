// What the server serves is what the sources say, and stays small.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { bundles } from "../build.js";

/** The most bytes, gzipped. What a page loads before anybody opens the bell, then what opens, then what few ask for. */
const BUDGET = { "bell.js": 13_400, "bell/panel.js": 10_900, "bell/preferences.js": 1_200, "feed.js": 9_300 };

const files = await bundles();

test("the bundles are built from the sources as they are: run `npm run build` after a change", async () => {
  for (const [name, text] of files) {
    assert.equal(await readFile(new URL(`../dist/${name}`, import.meta.url), "utf8"), text, name);
  }
});

test("the bundles keep to their budget", () => {
  for (const [name, most] of Object.entries(BUDGET)) {
    const size = gzipSync(files.get(name) ?? "", { level: 9 }).length;
    assert.ok(size <= most, `${name} has ${size} bytes, gzipped; its budget is ${most}`);
  }
});

test("the package has all that its modules import, and what it says it exports", async () => {
  const home = fileURLToPath(new URL("..", import.meta.url));
  const told = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: home, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const packed = new Set(JSON.parse(told)[0].files.map((/** @type {{path: string}} */ { path }) => path));
  const { exports } = JSON.parse(await readFile(`${home}/package.json`, "utf8"));
  const entries = JSON.stringify(exports).match(/\.\/[^"]+\.js/g) ?? [];
  const modules = [...packed, ...entries.map((/** @type {string} */ path) => path.slice(2))].filter((path) => path.endsWith(".js"));
  for (const path of modules) {
    const source = await readFile(`${home}/${path}`, "utf8");
    const imported = [...source.matchAll(/(?:from|import) ?\(?"(\.[^"?]+)/g)].map(([, to]) => posix.join(posix.dirname(path), to));
    for (const needed of [path, ...imported]) assert.ok(packed.has(needed), `${needed}, which ${path} needs, is not packed`);
  }
  assert.ok(modules.length > 20, `${modules}`);
});
