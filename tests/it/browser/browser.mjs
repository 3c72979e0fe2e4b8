// A real browser for the scripts beside this one: pages in every look, what axe-core finds on them, and pictures of them.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { launch, require } from "./chromium.mjs";

const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** How a page may be looked at, as the options of a browser's context. */
export const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  "forced-colors": { forcedColors: "active", colorScheme: "dark" },
  "reduced-motion": { reducedMotion: "reduce" },
};
/** What axe-core looks for: WCAG 2.2, A and AA, and what else is known to help. */
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/** The narrowest window in which nothing may need to be scrolled sideways (WCAG 1.4.10). */
const NARROW = { width: 320, height: 640 };
const WIDE = { width: 1000, height: 800 };

const pictures = process.env.SDK_TEST_SCREENSHOTS;
mkdirSync(pictures, { recursive: true });

const browser = await launch();
after(() => browser.close());

/**
 * A page at a URL, in a browser of its own or `beside` another page; it goes when the test ends, which fails if the page has
 * complained, but for what `forgive` knows. `prepare` has the page before it goes anywhere.
 */
export async function visit(t, url, { beside, prepare, forgive, ...options } = {}) {
  const context = beside?.context() ?? (await browser.newContext({ viewport: WIDE, ...options }));
  const page = await context.newPage();
  await prepare?.(page);
  const complaints = [];
  const addresses = new Set();
  page.on("framenavigated", (frame) => addresses.add(frame.url()));
  page.on("pageerror", (error) => complaints.push({ text: String(error) }));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push({ text: message.text(), of: message.location().url });
  });
  t.after(async () => {
    if (!beside) await context.close();
    // That a page itself is a 404, say, is no fault of it.
    const faults = complaints.filter(({ text, of }) => !(text.startsWith("Failed to load resource") && addresses.has(of)) && !forgive?.test(text));
    assert.deepEqual(faults, [], "the page complained in the browser's console");
  });
  await page.goto(url);
  return page;
}

/**
 * Expects that axe-core finds nothing, not even something that it can't decide itself. Where colours are forced it does not
 * know which are shown: there nothing may insist on its own. `within` is the part of the page that is looked at.
 */
export async function faultless(page, within = "html") {
  await page.evaluate(AXE);
  const { violations, incomplete, passes, isForced, stubborn } = await page.evaluate(async ([values, within]) => {
    const isForced = matchMedia("(forced-colors: active)").matches;
    const found = await globalThis.axe.run(within, {
      runOnly: { type: "tag", values },
      rules: { "color-contrast": { enabled: !isForced } },
    });
    const all = (root) => [...root.querySelectorAll("*")].flatMap((one) => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]);
    const stubborn = all(document).filter(
      (element) => getComputedStyle(element).forcedColorAdjust === "none" && !(element instanceof SVGElement),
    );
    return { ...found, isForced, stubborn: stubborn.map((element) => element.outerHTML.slice(0, 80)) };
  }, [TAGS, within]);
  const told = [...violations, ...incomplete].map(
    ({ id, help, nodes }) => `${id}: ${help}\n${nodes.map((node) => `  ${node.html}\n  ${node.failureSummary}`).join("\n")}`,
  );
  assert.deepEqual(told, [], `axe-core on ${page.url()}`);
  assert.deepEqual(stubborn, [], "it keeps its own colours where others are forced");
  assert.ok(passes.some(({ id }) => (isForced ? ["document-title", "button-name"] : ["color-contrast"]).includes(id)), "axe-core has looked at the page");
}

/** Expects that a narrow window shows all of it, with nothing to scroll sideways. */
export async function fitsPhones(page) {
  await page.setViewportSize(NARROW);
  const widest = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.setViewportSize(WIDE);
  assert.ok(widest <= NARROW.width, `the page is ${widest} pixels wide in a window of ${NARROW.width}`);
}

/** Expects that nothing on it moves by itself or glides from one state to another. */
export async function isStill(page) {
  const moving = await page.evaluate(() =>
    [...document.querySelectorAll("*")]
      .filter((element) => {
        const { transitionDuration, animationDuration, scrollBehavior } = getComputedStyle(element);
        return [transitionDuration, animationDuration].some((text) => text.split(", ").some((time) => parseFloat(time) > 0.01)) || scrollBehavior === "smooth";
      })
      .map((element) => element.outerHTML.slice(0, 80)),
  );
  assert.deepEqual(moving, [], "it moves though less motion is wanted");
}

/** Keeps a picture of a page as `target/screenshots/<name>.png`: all of it, unless it says otherwise. */
export const picture = (page, name, options = {}) =>
  page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true, ...options });

/** Presses Tab until something has the focus; what a keyboard can't reach fails. */
export async function tabTo(page, locator) {
  for (let presses = 0; presses < 100; presses++) {
    await page.keyboard.press("Tab");
    if (await locator.evaluate((element) => element === document.activeElement)) return;
  }
  assert.fail(`Tab does not lead to ${locator}`);
}
