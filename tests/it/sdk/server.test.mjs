// The server's client: what a backend asks and tells.

import assert from "node:assert/strict";
import test from "node:test";
import Knock from "@knocklabs/node";
import { arrived, backend, held, place, someone, tell, until, wire } from "./support.mjs";

const collect = async (pages) => {
  const all = [];
  for await (const one of pages) all.push(one);
  return all;
};

test("a user is identified, merged into, read, listed and deleted", async () => {
  const knock = backend();
  const user = someone();
  const made = await knock.users.update(user, { name: "Ann Lee", email: "ann@example.com", plan: "pro" });
  assert.deepEqual([made.id, made.name, made.plan], [user, "Ann Lee", "pro"]);
  await knock.users.update(user, { plan: "free" });
  const known = await knock.users.get(user);
  assert.deepEqual([known.name, known.email, known.plan], ["Ann Lee", "ann@example.com", "free"]);
  const listed = await collect(knock.users.list({ page_size: 20 }));
  assert.equal(listed.filter(({ id }) => id === user).length, 1);
  await knock.users.delete(user);
  await assert.rejects(knock.users.get(user), Knock.NotFoundError);
});

test("a list of users ends and names each once", async () => {
  const knock = backend();
  const users = Array.from({ length: 7 }, () => someone("listed"));
  for (const user of users) await knock.users.update(user, { name: user });
  const ids = (await collect(knock.users.list({ page_size: 2 }))).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const user of users) assert.ok(ids.includes(user));
});

test("a trigger tells every recipient, and identifies those it describes", async () => {
  const knock = backend();
  const [plain, described] = [someone(), someone()];
  await knock.users.update(plain, { name: "Ann Lee" });
  const { workflow_run_id } = await knock.workflows.trigger("note", {
    recipients: [plain, { id: described, name: "Bob Ray" }],
    actor: { id: someone("actor"), name: "Cy" },
    data: { name: "hello" },
  });
  assert.match(workflow_run_id, /^[0-9a-f-]{36}$/);
  for (const user of [plain, described]) await arrived(user, "hello");
  assert.equal((await knock.users.get(described)).name, "Bob Ray");
  const [item] = (await held(plain)).items;
  assert.equal(item.actors[0].name, "Cy");
  assert.equal(item.source.key, "note");
});

test("a trigger repeated with its idempotency key replays the answer and runs nothing: W-IDM-03 W-IDM-04", async () => {
  const knock = backend();
  const user = someone();
  await knock.users.update(user, {});
  const once = () =>
    knock.workflows
      .trigger("note", { recipients: [user], data: { name: "once" } }, { idempotencyKey: `key-${user}` })
      .withResponse();
  const [first, second] = [await once(), await once()];
  assert.equal(second.data.workflow_run_id, first.data.workflow_run_id, "W-IDM-03");
  assert.equal(first.response.headers.get("idempotent-replayed"), null, "W-IDM-04");
  assert.equal(second.response.headers.get("idempotent-replayed"), "true", "W-IDM-04");
  assert.equal(second.response.headers.get("original-x-request-id"), first.response.headers.get("x-request-id"));
  await tell(user, "after");
  await arrived(user, "after");
  await arrived(user, "once");
  assert.deepEqual((await held(user)).names.sort(), ["after", "once"]);
  await assert.rejects(
    knock.workflows.trigger("note", { recipients: [user], data: { name: "other" } }, { idempotencyKey: `key-${user}` }),
    Knock.APIError,
    "W-IDM-06: other parameters under the same key",
  );
});

test("a trigger whose answer was lost is retried by the SDK and happens once: W-IDM-10", async (t) => {
  const user = someone();
  const line = await wire(t);
  const knock = backend({ baseURL: line.url, maxRetries: 2 });
  await knock.users.update(user, {});
  line.loseAnswerTo = "POST /v1/workflows/note/trigger";
  const { data, response } = await knock.workflows
    .trigger("note", { recipients: [user], data: { name: "once" } })
    .withResponse();
  assert.equal(line.lost, 1, "the wire lost the first answer");
  assert.equal(response.headers.get("idempotent-replayed"), "true", "W-IDM-10");
  assert.match(data.workflow_run_id, /^[0-9a-f-]{36}$/);
  await tell(user, "after");
  await arrived(user, "after");
  await arrived(user, "once");
  assert.deepEqual((await held(user)).names.sort(), ["after", "once"]);
});

test("a delayed run that is cancelled never shows; another's goes on", async () => {
  const knock = backend();
  const user = someone();
  await tell(user, "called off", { workflow: "later", cancellation_key: `off-${user}` });
  await tell(user, "goes on", { workflow: "later", cancellation_key: `on-${user}` });
  await knock.workflows.cancel("later", { cancellation_key: `off-${user}` });
  await arrived(user, "goes on");
  assert.deepEqual((await held(user)).names, ["goes on"]);
});

test("messages are listed, read, marked one by one and in batches", async () => {
  const knock = backend();
  const user = someone();
  for (const name of ["one", "two", "three"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const messages = await collect(knock.users.listMessages(user, { page_size: 2 }));
  assert.deepEqual(messages.map(({ data }) => data.name).sort(), ["one", "three", "two"]);
  const [message] = messages;
  assert.equal(message.recipient, user);
  assert.equal(message.workflow, "note");
  assert.equal((await knock.messages.get(message.id)).id, message.id);
  assert.notEqual((await knock.messages.markAsSeen(message.id)).seen_at, null);
  assert.notEqual((await knock.messages.markAsRead(message.id)).read_at, null);
  assert.equal((await knock.messages.markAsUnread(message.id)).read_at, null);
  assert.notEqual((await knock.messages.archive(message.id)).archived_at, null);
  assert.equal((await knock.messages.unarchive(message.id)).archived_at, null);
  const interacted = await knock.messages.markAsInteracted(message.id, { metadata: { from: "test" } });
  assert.notEqual(interacted.interacted_at, null);
  const marked = await knock.messages.batch.markAsRead({ message_ids: messages.map(({ id }) => id) });
  assert.equal(marked.length, 3);
  assert.equal((await held(user)).unread_count, 0);
  const filtered = await collect(knock.users.listMessages(user, { engagement_status: ["unread"] }));
  assert.deepEqual(filtered, []);
});

test("a bulk operation marks a recipient's messages and reports its progress", async () => {
  const knock = backend();
  const user = someone();
  for (const name of ["one", "two"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const operation = await knock.channels.bulk.updateMessageStatus(place.channel, "read", { recipient_ids: [user] });
  await until("it is done", async () => (await knock.bulkOperations.get(operation.id)).status === "completed");
  assert.equal((await held(user)).unread_count, 0);
});

test("a schedule is made, listed, changed and deleted, and runs when it is due: W-SCH-37", async () => {
  const knock = backend();
  const [user, other] = [someone(), someone()];
  const made = await knock.schedules.create({
    workflow: "note",
    recipients: [{ id: user, timezone: "Europe/Berlin" }, { id: other }],
    repeats: [{ frequency: "weekly", days: ["mon"], hours: 9 }],
    data: { name: "weekly" },
  });
  assert.deepEqual(made.map(({ recipient }) => recipient.id), [user, other], "W-SCH-02");
  const [own, theirs] = made;
  assert.equal(own.repeats[0].frequency, "weekly");
  const listed = await collect(knock.schedules.list({ workflow: "note", recipients: [user], page_size: 1 }));
  assert.deepEqual(listed.map(({ id }) => id), [own.id], "W-SCH-34");
  assert.deepEqual((await collect(knock.users.listSchedules(user))).map(({ id }) => id), [own.id], "W-SCH-35");
  // What was read can be sent back as it is.
  const [kept] = await knock.schedules.update({ schedule_ids: [own.id], repeats: own.repeats });
  assert.equal(kept.next_occurrence_at, own.next_occurrence_at, "W-SCH-31");
  const past = new Date(Date.now() - 60_000).toISOString();
  const [once] = await knock.schedules.update({ schedule_ids: [own.id], repeats: [], scheduled_at: past, data: { name: "once" } });
  assert.deepEqual(once.data, { name: "once" }, "W-SCH-30");
  await arrived(user, "once");
  const [gone] = await knock.schedules.delete({ schedule_ids: [theirs.id] });
  assert.equal(gone.id, theirs.id, "W-SCH-33");
  assert.deepEqual(await collect(knock.users.listSchedules(other)), [], "W-SCH-33");
  const entry = { workflow: "note", recipient: { id: other }, scheduled_at: past, data: { name: "in bulk" } };
  const operation = await knock.schedules.bulk.create({ schedules: [entry] });
  await until("it is done", async () => (await knock.bulkOperations.get(operation.id)).status === "completed");
  await arrived(other, "in bulk");
});

test("a feed is paged through by the SDK, filtered by status, and has settings", async () => {
  const knock = backend();
  const user = someone();
  for (const name of ["one", "two", "three", "four", "five"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const items = await collect(knock.users.feeds.listItems(user, place.channel, { page_size: 2 }));
  assert.deepEqual(items.map(({ data }) => data.name), ["five", "four", "three", "two", "one"]);
  await knock.messages.markAsRead(items[0].id);
  assert.deepEqual((await held(user, { status: "read" })).names, ["five"]);
  assert.equal((await held(user, { status: "unread" })).names.length, 4);
  const settings = await knock.users.feeds.getSettings(user, place.channel);
  assert.equal(typeof settings.features.branding_required, "boolean");
});

test("mistakes are refused in the SDK's own kinds of error, each with a sentence", async () => {
  const knock = backend();
  const user = someone();
  const refusals = [
    [() => backend({ apiKey: "sk_test_nobodyknowsthisone" }).users.get(user), Knock.AuthenticationError],
    [() => knock.workflows.trigger("no-such-workflow", { recipients: [user] }), Knock.NotFoundError],
    [() => knock.workflows.trigger("note", { recipients: [] }), Knock.UnprocessableEntityError],
    [() => knock.workflows.trigger("note", { recipients: [17] }), Knock.UnprocessableEntityError],
    [() => knock.messages.get("no-such-message"), Knock.NotFoundError],
    [() => backend({ apiKey: place.development.public }).workflows.trigger("note", { recipients: [user] }), Knock.APIError],
  ];
  for (const [act, kind] of refusals) {
    const error = await act().then(
      (answer) => assert.fail(`${act} was answered ${JSON.stringify(answer)}`),
      (error) => error,
    );
    assert.ok(error instanceof kind, `${act}: ${error.constructor.name}: ${error.message}`);
    assert.ok(error.error?.message?.length > 10, `${act}: ${JSON.stringify(error.error)}`);
  }
});

test("warehouses keep audiences by calls that the SDK knows: F-INT-01 F-INT-02", async () => {
  const call = { id: "1", jsonrpc: "2.0" };
  const { integrations, audiences } = backend();
  const connected = await integrations.census.customDestination({ ...call, method: "test_connection" });
  assert.deepEqual(connected.result, { success: true });
  const [key, user] = [someone("audience"), someone()];
  const configuration = { mode: "mirror", audience_key: key, mappings: [{ from: "id", to: "user_id" }] };
  const sync = (method) =>
    integrations.hightouch.embeddedDestination({ ...call, method, params: { configuration, rows: [{ id: user }] } });
  const members = async () => (await audiences.listMembers(key)).entries.map((member) => member.user_id);
  assert.deepEqual((await sync("add")).result, { rejectedRows: [] });
  assert.deepEqual(await members(), [user]);
  assert.deepEqual((await sync("remove")).result, { rejectedRows: [] });
  assert.deepEqual(await members(), []);
});
