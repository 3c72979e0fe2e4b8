// Guides, as the official client shows them. This script writes their files, and starts the server itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { KnockGuideClient } from "@knocklabs/client";
import Knock from "@knocklabs/node";
import { signUserToken } from "@knocklabs/node/lib/tokenSigner";
import { backend, page, place, quietly, someone, until } from "./support.mjs";

const channel = place.channels.guides;
const home = join(place.directory, "guides");
let server;

/** Writes a guide that anybody is shown, with what is different. */
function write(key, more = {}) {
  const steps = [{ ref: "step_1", schema_key: key, values: { title: `${key} for {{ recipient.name }}` } }];
  mkdirSync(join(home, key), { recursive: true });
  writeFileSync(join(home, key, "guide.json"), JSON.stringify({ name: key, channel_key: "in-app-guide", steps, ...more }));
}

const order = (group) => writeFileSync(join(home, "group.json"), JSON.stringify(group));

before(async () => {
  write("banner");
  write("tour", { activation_url_patterns: [{ directive: "allow", pathname: "/workflows/*" }] });
  write("survey");
  write("gold", { target_property_conditions: { all: [{ variable: "data.plan", operator: "equal_to", argument: "gold" }] } });
  order({ display_sequence_unthrottled: ["banner"], display_sequence: ["survey", "tour"], display_interval: { unit: "hours", value: 1 } });
  server = spawn(place.binary, place.arguments, { cwd: place.directory, stdio: "ignore" });
  await until("the server answers", () => fetch(place.url).then(() => true, () => false));
});

after(() => server?.kill("SIGKILL"));

/** Somebody who is known. */
async function ann() {
  const { id } = await backend().users.update(someone(), { name: "Ann" });
  return id;
}

/** The guides that a page of `user` has fetched. */
async function open(t, user, target = {}, options = {}) {
  const client = page(t, user, options);
  const guides = new KnockGuideClient(client, channel, target, { throttleCheckInterval: 0, orderResolutionDuration: 0 });
  t.after(() => guides.cleanup());
  guides.now = () => guides.store.state;
  guides.shown = (filters = {}) => guides._selectGuide(guides.now(), filters)?.key;
  const { status, error } = await guides.fetch();
  assert.equal(status, "ok", `F-GDE-01: ${error}`);
  return guides;
}

/** The messages that tell what a user has done with guides. */
const told = async (user) => (await backend().users.listMessages(user)).items;

test("a page is shown the guides for its user, in their order: F-GDE-01 F-GDE-02 F-GDE-03 F-GDE-05", async (t) => {
  const user = await ann();
  const guides = await open(t, user);
  const { guides: all, guideGroups, ineligibleGuides } = guides.now();
  assert.deepEqual(Object.keys(all), ["banner", "survey", "tour"]);
  assert.deepEqual(guideGroups[0].display_sequence, ["banner", "survey", "tour", "gold"], "F-GDE-05: and those not for them");
  assert.equal(guideGroups[0].key, "default", "F-GDE-02: no mock");
  assert.equal(ineligibleGuides.gold.reason, "target_conditions_not_met", "F-GDE-06");
  assert.equal(all.survey.getStep().content.title, "survey for Ann");
  assert.equal(guides.shown(), "banner");
  assert.equal(guides.shown({ type: "tour" }), "tour");
  guides.setLocation("https://example.com/settings");
  assert.equal(guides.shown({ type: "tour" }), undefined, "F-GDE-03: elsewhere");
  guides.setLocation("https://example.com/workflows/1");
  assert.equal(guides.shown({ type: "tour" }), "tour", "F-GDE-03");
  const rich = await open(t, user, { data: { plan: "gold" } });
  assert.equal(rich.shown({ key: "gold" }), "gold", "F-GDE-11: what the page says of itself");
});

test("a page marks a guide, and stops showing it: F-GDE-07 F-GDE-10 F-GDE-12", async (t) => {
  const user = await ann();
  const guides = await open(t, user, { tenant: "acme", data: { plan: "free" } });
  const step = () => guides.now().guides.banner.getStep();
  await step().markAsSeen();
  await step().markAsInteracted({ metadata: { nps_score: 8 } });
  const message = await until("both are noted", async () => (await told(user)).find((one) => one.seen_at && one.interacted_at));
  assert.deepEqual([message.source.type, message.source.key, message.source.step_ref], ["guide", "banner", "step_1"], "F-GDE-10");
  assert.equal(message.read_at, message.interacted_at, "F-GDE-12");
  assert.deepEqual([message.tenant, message.data, message.metadata], ["acme", { plan: "free" }, { nps_score: 8 }]);
  const again = await open(t, user);
  assert.ok(again.now().guides.banner.steps[0].message.seen_at, "F-GDE-04: another device has it");
  await step().markAsArchived();
  assert.equal(guides.shown({ key: "banner" }), undefined);
  await until("it is noted", async () => (await told(user))[0].archived_at);
  const third = await open(t, user);
  assert.equal(third.now().guides.banner, undefined, "F-GDE-11");
  assert.equal(third.now().ineligibleGuides.banner.reason, "marked_as_archived", "F-GDE-06");
  assert.equal(third.shown({ key: "survey" }), "survey", "F-GDE-10: it was unthrottled, so that nothing waits");
  assert.equal((await told(user)).length, 1, "F-GDE-10: one message tells it all");
});

test("who dismisses a guide is not shown the next one for a while: F-GDE-05 F-GDE-10", async (t) => {
  const user = await ann();
  const guides = await open(t, user);
  await guides.now().guides.survey.getStep().markAsArchived();
  await until("it is noted", async () => (await told(user)).length === 1);
  const again = await open(t, user);
  assert.ok(again.now().guideGroupDisplayLogs.default, "F-GDE-05");
  assert.equal(again.shown({ key: "tour" }), undefined, "F-GDE-10: throttled");
  assert.equal(again.shown({ key: "banner" }), "banner", "F-GDE-03: it bypasses that");
});

test("a toolbar sees all guides, and resets what was done with one: F-GDE-01 F-GDE-09", async (t) => {
  const user = await ann();
  const guides = await open(t, user);
  await guides.now().guides.survey.getStep().markAsArchived();
  await until("it is noted", async () => (await told(user)).length === 1);
  guides.setDebug();
  await until("all are there", () => Object.keys(guides.now().guides).length === 4);
  assert.equal(guides.now().ineligibleGuides.survey.reason, "marked_as_archived", "F-GDE-01");
  await guides.resetEngagement(guides.now().guides.survey);
  assert.equal(guides.now().ineligibleGuides.survey, undefined, "F-GDE-09");
  assert.equal(guides.now().guides.survey.hasEngagement(), false, "F-GDE-09");
});

test("a page that listens has changed guides at once: F-SOC-21 F-SOC-22", async (t) => {
  const guides = await open(t, someone());
  guides.subscribe();
  const { socket } = guides.knock.client();
  const topic = `guides:${channel}`;
  await until("its topic is joined", () => socket.channels.some((one) => one.topic === topic && one.state === "joined"));
  write("news", { steps: [{ ref: "step_1", schema_key: "news", values: { title: "New" } }] });
  server.kill("SIGHUP");
  await until("the new one is there", () => guides.now().guides.news);
  await until("it has its place", () => guides.now().guideGroups[0].display_sequence.includes("news"));
  assert.equal(guides.shown({ key: "news" }), "news");
  write("news", { active: false });
  server.kill("SIGHUP");
  await until("it is gone", () => !guides.now().guides.news);
  write("news");
  server.kill("SIGHUP");
  await until("it is back", () => guides.now().guides.news?.active);
  rmSync(join(home, "news"), { recursive: true });
  server.kill("SIGHUP");
  await until("it is gone for good", () => !guides.now().guides.news);
});

test("a backend reads and marks guides, and a signed token opens one's own alone: F-GDE-08 F-AUT-15", async (t) => {
  const knock = backend();
  const user = await ann();
  const { entries } = await knock.users.guides.getChannel(user, channel, { type: "tour" });
  assert.deepEqual(entries.map(({ key }) => key), ["tour"]);
  const [{ id: guide_id, key: guide_key, channel_id, steps }] = entries;
  const body = { channel_id, guide_id, guide_key, guide_step_ref: steps[0].ref };
  const seen = await knock.users.guides.markMessageAsSeen(user, { ...body, content: steps[0].content });
  assert.deepEqual(seen, { status: "ok" });
  await knock.users.guides.markMessageAsInteracted(user, body);
  await knock.users.guides.markMessageAsArchived(user, { ...body, is_final: true });
  const [message] = await told(user);
  assert.deepEqual(message.engagement_statuses, ["seen", "read", "interacted", "archived"]);
  await assert.rejects(
    knock.users.guides.markMessageAsArchived(user, { ...body, guide_key: "none" }),
    Knock.UnprocessableEntityError,
    "F-GDE-07",
  );
  const { public: key, signing } = place.production;
  const token = await signUserToken(user, { signingKey: signing });
  const own = await open(t, user, {}, { key, token });
  assert.equal(own.shown(), "banner");
  const other = new KnockGuideClient(page(t, someone(), { key, token }), channel, {}, { throttleCheckInterval: 0 });
  t.after(() => other.cleanup());
  assert.equal((await quietly(() => other.fetch())).status, "error", "F-AUT-15");
});
