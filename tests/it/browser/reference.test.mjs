// The description of the API as a page to read.

import assert from "node:assert/strict";
import test from "node:test";
import { place } from "../sdk/support.mjs";
import { LOOKS, faultless, fitsPhones, picture, tabTo, visit } from "./browser.mjs";

for (const look of ["light", "dark"]) {
  test(`the reference has no barriers: ${look}`, async (t) => {
    const page = await visit(t, `${place.url}/reference`, LOOKS[look]);
    await picture(page, `reference-${look}`, { fullPage: false });
    await faultless(page);
    await fitsPhones(page);
  });
}

test("keys alone lead past the operations, and to one of them", async (t) => {
  const page = await visit(t, `${place.url}/reference`, { javaScriptEnabled: false });
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: "To the operations" });
  assert.equal(await skip.evaluate((element) => element === document.activeElement), true);
  await picture(page, "reference-focus", { fullPage: false });
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).hash, "#main");
  await page.goto(`${place.url}/reference`);
  const group = page.getByRole("navigation").locator("summary", { hasText: /^Users$/ });
  await tabTo(page, group);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await picture(page, "reference-navigation", { fullPage: false });
  await page.keyboard.press("Enter");
  const { hash } = new URL(page.url());
  assert.match(hash, /^#[a-z]+-v1-users/);
  assert.equal(await page.locator(hash).isVisible(), true);
});
