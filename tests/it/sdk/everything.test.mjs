// Every method of the server's client, each once, on whatever it is about. What it sends is taken, and what comes back has
// what the client's own types promise, as far as a script can look.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import Knock from "@knocklabs/node";
import { arrived, backend, place, someone, tell, until } from "./support.mjs";

const called = new Set();

/** Every method of a client's resources, by its name, such as `users.bulk.identify`. */
function methods(holder, above = "") {
  return Object.entries(holder)
    .filter(([name, value]) => !name.startsWith("_") && value?._client)
    .flatMap(([name, resource]) => {
      const own = Object.getOwnPropertyNames(Object.getPrototypeOf(resource)).filter((method) => method !== "constructor");
      return [...own.map((method) => [resource, method, `${above}${name}.${method}`]), ...methods(resource, `${above}${name}.`)];
    });
}

const knock = backend();
const all = methods(knock);
for (const [resource, method, name] of all) {
  const plain = resource[method];
  resource[method] = function (...rest) {
    called.add(name);
    return plain.apply(this, rest);
  };
}

after(() => {
  assert.ok(all.length >= 98, `the client has ${all.length} methods`);
  assert.deepEqual(all.map(([, , name]) => name).filter((name) => !called.has(name)), [], "methods that nothing has called");
});

/** The ids of a list's entries. */
const ids = async (pages, id = (one) => one.id) => {
  const found = [];
  for await (const one of pages) found.push(id(one));
  return found;
};

/** Waits for a bulk operation; none of its entries may fail. */
async function done(operation) {
  const bulk = await until("it is done", async () => {
    const now = await knock.bulkOperations.get(operation.id);
    return now.status === "completed" && now;
  });
  assert.deepEqual([bulk.error_count, bulk.processed_rows], [0, bulk.estimated_total_rows], "F-BLK-02");
  assert.equal(new URL(bulk.progress_path).pathname, `/v1/bulk_operations/${operation.id}`, "F-BLK-04");
  return bulk;
}

const { phones, slack, teams, guides } = place.channels;

test("users: F-USR", async () => {
  const [ann, bob, cy] = [someone("ann"), someone("bob"), someone("cy")];
  assert.equal((await knock.users.update(ann, { name: "Ann" })).name, "Ann");
  await knock.users.update(bob, { name: "Bob", plan: "pro" });
  assert.equal((await knock.users.get(bob)).plan, "pro");
  assert.ok((await ids(knock.users.list())).includes(ann));
  await knock.users.setChannelData(ann, phones, { data: { tokens: ["one"] } });
  assert.deepEqual((await knock.users.getChannelData(ann, phones)).data.tokens, ["one"]);
  await knock.users.unsetChannelData(ann, phones);
  await assert.rejects(knock.users.getChannelData(ann, phones), Knock.NotFoundError);
  assert.deepEqual((await knock.users.setPreferences(ann, "default", { categories: { news: false } })).categories, { news: false });
  assert.deepEqual((await knock.users.getPreferences(ann, "default")).categories, { news: false });
  assert.deepEqual((await knock.users.listPreferences(ann)).map(({ id }) => id), ["default"]);
  await knock.users.unsetPreferences(ann, "default");
  assert.equal((await knock.users.getPreferences(ann, "default")).categories, null);
  await tell(ann, "told");
  await arrived(ann, "told");
  assert.equal((await ids(knock.users.listMessages(ann))).length, 1);
  assert.equal((await knock.users.feeds.listItems(ann, place.channel)).entries.length, 1);
  assert.deepEqual(await knock.users.feeds.getSettings(ann, place.channel), { features: { branding_required: false } });
  await knock.schedules.create({ workflow: "note", recipients: [ann], scheduled_at: "2100-01-01T00:00:00Z", data: { name: "far" } });
  assert.equal((await ids(knock.users.listSchedules(ann))).length, 1);
  await knock.objects.set("crews", ann, {});
  await knock.objects.addSubscriptions("crews", ann, { recipients: [ann] });
  assert.deepEqual(await ids(knock.users.listSubscriptions(ann), ({ object }) => object.id), [ann]);
  assert.equal((await knock.users.merge(ann, { from_user_id: bob })).plan, "pro");
  await assert.rejects(knock.users.get(bob), Knock.NotFoundError);
  await done(await knock.users.bulk.identify({ users: [{ id: bob, name: "Bo" }, { id: cy }] }));
  assert.equal((await knock.users.get(bob)).name, "Bo");
  await done(await knock.users.bulk.setPreferences({ user_ids: [bob, cy], preferences: { workflows: { note: false } } }));
  assert.deepEqual((await knock.users.getPreferences(cy, "default")).workflows, { note: false });
  await done(await knock.users.bulk.delete({ user_ids: [bob] }));
  await knock.users.delete(cy);
  for (const user of [bob, cy]) await assert.rejects(knock.users.get(user), Knock.NotFoundError);
});

test("the preference centre: F-PCC", async () => {
  const user = someone();
  await knock.users.update(user, { email: "ann@example.com" });
  const config = await knock.users.preferenceCenter.getConfig(user);
  assert.deepEqual([config.user_email, Array.isArray(config.config.rows)], ["ann@example.com", true]);
  const { url } = await knock.users.preferenceCenter.generateSignedURL(user);
  assert.equal((await fetch(url)).status, 200);
});

test("objects: F-OBJ", async () => {
  const [collection, red, blue, user] = [someone("teams"), "red", "blue", someone()];
  assert.equal((await knock.objects.set(collection, red, { name: "Red" })).properties.name, "Red");
  assert.equal((await knock.objects.get(collection, red)).id, red);
  await done(await knock.objects.bulk.set(collection, { objects: [{ id: blue, name: "Blue" }] }));
  assert.deepEqual((await ids(knock.objects.list(collection))).sort(), [blue, red]);
  await knock.objects.setChannelData(collection, red, slack, { data: { connections: [{ incoming_webhook: { url: "https://example.com/hook" } }] } });
  assert.equal((await knock.objects.getChannelData(collection, red, slack)).channel_id, slack);
  await knock.objects.unsetChannelData(collection, red, slack);
  await assert.rejects(knock.objects.getChannelData(collection, red, slack), Knock.NotFoundError);
  await knock.objects.setPreferences(collection, red, "default", { categories: { news: false } });
  assert.deepEqual((await knock.objects.getPreferences(collection, red, "default")).categories, { news: false });
  assert.deepEqual((await knock.objects.listPreferences(collection, red)).map(({ id }) => id), ["default"]);
  await knock.objects.unsetPreferences(collection, red, "default");
  const added = await knock.objects.addSubscriptions(collection, red, { recipients: [user], properties: { role: "lead" } });
  assert.deepEqual(added.map(({ recipient, properties }) => [recipient.id, properties]), [[user, { role: "lead" }]]);
  assert.deepEqual(await ids(knock.objects.listSubscriptions(collection, red), ({ recipient }) => recipient.id), [user]);
  assert.equal((await knock.objects.deleteSubscriptions(collection, red, { recipients: [user] })).length, 1);
  const subscriptions = [{ id: red, recipients: [user] }];
  await done(await knock.objects.bulk.addSubscriptions(collection, { subscriptions }));
  await done(await knock.objects.bulk.deleteSubscriptions(collection, { subscriptions }));
  assert.deepEqual(await ids(knock.objects.listSubscriptions(collection, red)), []);
  assert.deepEqual(await ids(knock.objects.listMessages(collection, red)), []);
  assert.deepEqual(await ids(knock.objects.listSchedules(collection, red)), []);
  await done(await knock.objects.bulk.delete(collection, { object_ids: [blue] }));
  await knock.objects.delete(collection, red);
  assert.deepEqual(await ids(knock.objects.list(collection)), []);
});

test("tenants: F-TEN", async () => {
  const [north, south] = [someone("north"), someone("south")];
  const settings = { branding: { primary_color: "#112233" } };
  assert.equal((await knock.tenants.set(north, { name: "North", settings })).settings.branding.primary_color, "#112233");
  assert.equal((await knock.tenants.get(north)).name, "North");
  assert.ok((await ids(knock.tenants.list({ name: "North" }))).includes(north));
  await done(await knock.tenants.bulk.set({ tenants: [{ id: south, name: "South" }] }));
  await done(await knock.tenants.bulk.delete({ tenant_ids: [south] }));
  await knock.tenants.delete(north);
  for (const tenant of [north, south]) await assert.rejects(knock.tenants.get(tenant), Knock.NotFoundError);
});

test("messages: F-MSG F-STA", async () => {
  const user = someone();
  for (const name of ["one", "two"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const found = await ids(knock.messages.list({ workflow_recipient_run_id: undefined, tenant: undefined }));
  const mine = await ids(knock.users.listMessages(user));
  assert.ok(mine.length === 2 && mine.every((id) => found.includes(id)));
  const [first] = mine;
  assert.equal((await knock.messages.get(first)).id, first);
  assert.equal((await knock.messages.getContent(first)).data.blocks[0].type, "markdown");
  assert.equal((await ids(knock.messages.listActivities(first))).length, 1);
  assert.ok((await ids(knock.messages.listEvents(first), ({ type }) => type)).includes("message.delivered"));
  assert.deepEqual(await ids(knock.messages.listDeliveryLogs(first)), []);
  assert.notEqual((await knock.messages.markAsSeen(first)).seen_at, null);
  assert.equal((await knock.messages.markAsUnseen(first)).seen_at, null);
  assert.notEqual((await knock.messages.markAsRead(first)).read_at, null);
  assert.equal((await knock.messages.markAsUnread(first)).read_at, null);
  assert.notEqual((await knock.messages.markAsInteracted(first, { metadata: { by: "hand" } })).interacted_at, null);
  assert.notEqual((await knock.messages.archive(first)).archived_at, null);
  assert.equal((await knock.messages.unarchive(first)).archived_at, null);
  const { batch } = knock.messages;
  const both = { message_ids: mine };
  assert.equal((await batch.getContent(both)).length, 2);
  for (const [mark, member, isSet] of [
    ["markAsSeen", "seen_at", true],
    ["markAsUnseen", "seen_at", false],
    ["markAsRead", "read_at", true],
    ["markAsUnread", "read_at", false],
    ["markAsInteracted", "interacted_at", true],
    ["archive", "archived_at", true],
    ["unarchive", "archived_at", false],
  ]) {
    const marked = await batch[mark](both);
    assert.deepEqual(marked.map((message) => message[member] !== null), [isSet, isSet], mark);
  }
  await done(await knock.channels.bulk.updateMessageStatus(place.channel, "read", { recipient_ids: [user] }));
});

test("workflows, their runs and their schedules: W-TRG W-CAN W-RUN W-SCH", async () => {
  const user = someone();
  await knock.workflows.trigger("note", { recipients: [{ id: user }], data: { name: "now" } });
  await arrived(user, "now");
  await knock.workflows.trigger("later", { recipients: [user], data: { name: "never" }, cancellation_key: user });
  await knock.workflows.cancel("later", { cancellation_key: user });
  const [run] = await ids(knock.workflowRecipientRuns.list({ recipient: user, workflow: "note" }));
  assert.ok((await knock.workflowRecipientRuns.get(run)).events.length > 0);
  const far = { workflow: "note", scheduled_at: "2100-01-01T00:00:00Z", data: { name: "far" } };
  const [schedule] = await knock.schedules.create({ ...far, recipients: [user] });
  const [changed] = await knock.schedules.update({ schedule_ids: [schedule.id], data: { name: "farther" } });
  assert.equal(changed.data.name, "farther");
  assert.ok((await ids(knock.schedules.list({ workflow: "note" }))).includes(schedule.id));
  assert.deepEqual((await knock.schedules.delete({ schedule_ids: [schedule.id] })).map(({ id }) => id), [schedule.id]);
  await done(await knock.schedules.bulk.create({ schedules: [{ ...far, recipient: user }] }));
  assert.equal((await ids(knock.users.listSchedules(user))).length, 1);
});

test("audiences, and those who sync them: F-AUD F-INT", async () => {
  const [key, user] = [someone("people"), someone()];
  await knock.audiences.addMembers(key, { members: [{ user: { id: user } }], create_audience: true });
  assert.deepEqual((await knock.audiences.listMembers(key)).entries.map((member) => member.user_id), [user]);
  await knock.audiences.removeMembers(key, { members: [{ user: { id: user } }] });
  assert.deepEqual((await knock.audiences.listMembers(key)).entries, []);
  const call = { jsonrpc: "2.0", id: "1", method: "test_connection", params: {} };
  assert.equal((await knock.integrations.census.customDestination(call)).id, "1");
  assert.equal((await knock.integrations.hightouch.embeddedDestination(call)).id, "1");
});

test("what nobody has connected says so: F-PRV-04 F-PRV-07 F-ERR-11", async () => {
  await knock.tenants.set("unconnected", {});
  const reference = JSON.stringify({ collection: "$tenants", object_id: "unconnected" });
  const [of_slack, of_teams] = [{ access_token_object: reference }, { ms_teams_tenant_object: reference }];
  const refused = (promise, message) => assert.rejects(promise, (error) => error instanceof Knock.APIError && error.message.includes(message));
  const { slack: forSlack, msTeams } = knock.providers;
  for (const method of ["checkAuth", "listChannels", "revokeAccess"]) {
    await refused(forSlack[method](slack, of_slack), "Access token not set.");
    await refused(msTeams[method](teams, { ...of_teams, team_id: "t" }), "Microsoft Teams tenant ID not set.");
  }
  await refused(msTeams.listTeams(teams, of_teams), "Microsoft Teams tenant ID not set.");
});

test("guides: F-GDE", async () => {
  const user = someone();
  await knock.users.update(user, { name: "Ann" });
  const { guides: marks } = knock.users;
  const shown = async () => (await marks.getChannel(user, guides)).entries;
  const [guide] = await shown();
  const step = { channel_id: guides, guide_key: guide.key, guide_id: guide.id, guide_step_ref: guide.steps[0].ref };
  const done = { status: "ok" };
  assert.deepEqual(await marks.markMessageAsSeen(user, { ...step, content: guide.steps[0].content }), done);
  assert.deepEqual(await marks.markMessageAsInteracted(user, { ...step, metadata: { by: "hand" } }), done);
  assert.deepEqual(await marks.markMessageAsArchived(user, step), done);
  assert.deepEqual(await shown(), []);
  assert.deepEqual(await marks.unarchiveGuideMessage(user, { guide_key: guide.key }), done);
  assert.equal((await shown()).length, 1);
  assert.deepEqual(await marks.resetGuideEngagements(user, { guide_key: guide.key }), done);
  assert.equal((await shown())[0].steps[0].message.seen_at, null);
});
