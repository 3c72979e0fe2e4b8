// Chromium as the system's packages have it, driven by playwright-core.

import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";

// What npm installs stands beside the scripts of the official clients.
export const require = createRequire(new URL("../sdk/package.json", import.meta.url));
const { chromium } = require("playwright-core");

/** Starts one; `CHROMIUM` names another than the system's. */
export const launch = (args = []) => chromium.launch({ executablePath: chromiumOfTheSystem(), args: ["--no-sandbox", ...args] });

function chromiumOfTheSystem() {
  const named = ["chromium", "chromium-browser", "google-chrome"];
  const places = process.env.PATH.split(delimiter).flatMap((folder) => named.map((name) => join(folder, name)));
  const found = [process.env.CHROMIUM, ...places].find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(found, "there is no Chromium: run tests/run, which installs it");
  return found;
}
