// The hosted pages: the one on which users choose what they are told, the one that ends commercial messages, and what
// whoever has a bad link is told.

import assert from "node:assert/strict";
import test from "node:test";
import { backend, held, place, someone, until } from "../sdk/support.mjs";
import { LOOKS, faultless, fitsPhones, isStill, picture, tabTo, visit } from "./browser.mjs";

const production = { apiKey: place.production.secret };

/** The link to the page of a user who is known. */
async function linkOf(user, options = {}) {
  const { url } = await backend(options).post(`/v1/users/${user}/preference_center/signed_url`);
  return new URL(new URL(url).pathname, place.url).href;
}

/** The link in a commercial message that ends these. */
async function endingOf(user, options = {}) {
  const client = backend(options);
  await client.workflows.trigger("offer", { recipients: [user] });
  const offer = await until("the offer is there", async () => (await held(user, {}, client)).items[0]);
  const link = offer.blocks.find((block) => block.name === "body").rendered.match(/[^"]*\/unsubscribe/)[0];
  return new URL(new URL(link).pathname, place.url).href;
}

/** Somebody who has said under which conditions they want to be told of one thing. */
async function ada() {
  const conditions = [{ variable: "data.amount", operator: "greater_than", argument: 100 }];
  const user = someone("ada");
  await backend().users.update(user, { email: "ada.lovelace@example.com" });
  await backend().users.setPreferences(user, "default", { workflows: { invoice: { conditions } } });
  return user;
}

/** What a user has chosen. */
const chosen = (user) => backend().users.getPreferences(user, "default");

/** Logos as Acme's own server would have them. */
async function open(t, url, options) {
  const page = await visit(t, "about:blank", options);
  const logo = (ink) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="160" height="40"><rect width="40" height="40" rx="8" fill="${ink}"/>` +
    `<text x="52" y="29" font-family="sans-serif" font-size="26" font-weight="700" fill="${ink}">Acme</text></svg>`;
  await page.route("https://acme.example/**", (route) =>
    route.fulfill({ contentType: "image/svg+xml", body: logo(route.request().url().includes("night") ? "#9db8ff" : "#0b5fff") }),
  );
  await page.goto(url);
  return page;
}

for (const [look, options] of Object.entries(LOOKS)) {
  test(`the hosted pages have no barriers: ${look}`, async (t) => {
    const [chooser, plain] = [await ada(), someone("bob")];
    await backend(production).users.update(plain, {});
    const pages = [
      ["preferences", await linkOf(chooser)],
      ["preferences-saved", `${await linkOf(chooser)}?saved`],
      ["preferences-plain", await linkOf(plain, production)],
      ["unsubscribe", await endingOf(chooser)],
      ["unsubscribe-plain", await endingOf(plain, production)],
      ["lost", `${place.url}/p/nonsense`],
    ];
    for (const [name, url] of pages) {
      const page = await open(t, url, options);
      await picture(page, `${name}-${look}`);
      await faultless(page);
      await fitsPhones(page);
      if (look === "reduced-motion") await isStill(page);
      await page.context().close();
    }
  });
}

test("a switch is set with keys alone where no script runs, and stays: F-PCC-06", async (t) => {
  const user = await ada();
  const page = await open(t, await linkOf(user), { javaScriptEnabled: false });
  const news = page.getByRole("checkbox", { name: "News" });
  assert.equal(await news.isChecked(), true);
  await tabTo(page, news);
  await picture(page, "preferences-focus");
  await page.keyboard.press("Space");
  assert.equal(await news.isChecked(), false);
  const save = page.getByRole("button", { name: "Save" });
  await tabTo(page, save);
  await page.keyboard.press("Enter");
  await page.getByRole("status").getByText("Your preferences have been saved.").waitFor();
  assert.deepEqual((await chosen(user)).categories, { news: false });
  await page.reload();
  assert.equal(await news.isChecked(), false, "after the page was loaded again");
  const fixed = page.getByRole("checkbox", { name: "Invoices" });
  assert.deepEqual([await fixed.isDisabled(), await save.isVisible()], [true, true]);
  // Back again: the page is as it was, and so is what is wanted.
  await tabTo(page, news);
  await page.keyboard.press("Space");
  await page.keyboard.press("Enter");
  await page.getByRole("status").waitFor();
  assert.equal(await news.isChecked(), true);
  assert.deepEqual((await chosen(user)).categories, { news: true });
});

test("commercial messages end with a link, and come back with one key where no script runs: F-PCC-10", async (t) => {
  const user = await ada();
  const page = await open(t, await endingOf(user), { javaScriptEnabled: false });
  await page.getByRole("heading", { name: "You have been unsubscribed" }).waitFor();
  assert.equal((await chosen(user)).commercial_subscribed, false);
  await tabTo(page, page.getByRole("button", { name: "Subscribe again" }));
  await picture(page, "unsubscribe-focus");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "You are subscribed again." }).waitFor();
  await picture(page, "subscribed-again");
  assert.equal((await chosen(user)).commercial_subscribed, true);
});
