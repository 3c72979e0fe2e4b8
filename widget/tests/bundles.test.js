// What the server serves is what the sources say, and stays small.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { bundles } from "../build.js";

/** The most bytes, gzipped. What a page loads before anybody opens the bell, then what opens, then what few ask for. */
const BUDGET = { "bell.js": 12_800, "bell/panel.js": 10_800, "bell/preferences.js": 1_200, "feed.js": 8_600 };

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
