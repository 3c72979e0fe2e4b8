// The browser's client: what a page shows, and what its reader does to it.

import assert from "node:assert/strict";
import test from "node:test";
import Client from "@knocklabs/client";
import { arrived, backend, held, openFeed, page, place, quietly, someone, tell, until, wire } from "./support.mjs";

test("authenticating with an object identifies the user inline, and an unknown user's feed is empty", async (t) => {
  const user = someone();
  const client = page(t, { id: user, name: "Ann Lee", email: "ann@example.com" });
  const feed = await openFeed(client);
  assert.deepEqual(feed.now(), { names: [], items: [], total_count: 0, unread_count: 0, unseen_count: 0 });
  await until("the user is known", () => backend().users.get(user).then((known) => known.name === "Ann Lee", () => false));
  assert.equal((await client.user.get()).email, "ann@example.com");
});

test("what pages are handed is what the client takes: F-TRN-19", async (t) => {
  const { secret, public: key } = place.development;
  assert.throws(() => new Client(secret, { host: place.url }), /secret API key/);
  const { log } = console;
  const said = [];
  console.log = (...words) => said.push(words.join(" "));
  t.after(() => (console.log = log));
  page(t, someone(), { key }).feeds.initialize("in-app-feed");
  assert.match(said.join(), /Invalid or missing feedId/, "it says so of other names");
  said.length = 0;
  await openFeed(page(t, someone(), { key }));
  assert.deepEqual(said, []);
});

test("fetch shows newest first with its counts, and changes nothing: F-FED-38", async (t) => {
  const user = someone();
  for (const name of ["one", "two", "three"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const feed = await openFeed(page(t, user));
  await feed.fetch();
  assert.deepEqual(feed.now().names, ["three", "two", "one"]);
  for (const item of feed.now().items) {
    assert.equal(item.seen_at, null, "F-FED-38");
    assert.equal(item.read_at, null, "F-FED-38");
    assert.match(item.blocks[0].rendered, new RegExp(`<strong>${item.data.name}</strong>`));
  }
  const { total_count, unread_count, unseen_count } = feed.now();
  assert.deepEqual({ total_count, unread_count, unseen_count }, { total_count: 3, unread_count: 3, unseen_count: 3 });
});

test("pages follow one another to the end: no item twice, none left out", async (t) => {
  const user = someone();
  const names = Array.from({ length: 7 }, (_, number) => `item ${number}`);
  for (const name of names) {
    await tell(user, name);
    await arrived(user, name);
  }
  const feed = await openFeed(page(t, user), { page_size: 3 });
  for (const length of [6, 7]) {
    await feed.fetchNextPage();
    await until(`${length} items are shown`, () => feed.now().items.length === length);
  }
  assert.deepEqual(feed.now().names, names.toReversed?.() ?? [...names].reverse());
  assert.equal(feed.getState().pageInfo.after, null);
});

test("a new item shows without a reload, with its counts: F-SOC-13 F-SOC-14 F-SOC-18", async (t) => {
  const user = someone();
  const feed = await openFeed(page(t, user));
  const events = [];
  feed.on("items.received.realtime", ({ items }) => events.push(...items.map((item) => item.data.name)));
  await tell(user, "hello");
  await until("the item is shown", () => feed.now().names.includes("hello"));
  assert.deepEqual(events, ["hello"]);
  assert.equal(feed.now().unread_count, 1);
  await tell(user, "again");
  await until("the second item is shown", () => feed.now().names.join() === "again,hello");
  assert.equal(feed.now().unseen_count, 2);
});

test("an item that is updated in place is heard of and counted once, and shown anew when the list is fetched", async (t) => {
  const user = someone();
  const feed = await openFeed(page(t, user));
  const events = [];
  feed.on("items.received.realtime", ({ items }) => events.push(...items.map((item) => item.data.name)));
  const build = (name) => tell(user, name, { workflow: "build", data: { build: 7 } });
  await build("queued");
  await until("the item is shown", () => feed.now().names.join() === "queued");
  await build("done");
  await until("the update is heard of", () => events.join() === "queued,done");
  assert.deepEqual(feed.now().items.length, 1, "no second item");
  assert.deepEqual([feed.now().total_count, feed.now().unread_count], [1, 1]);
  await feed.fetch();
  assert.deepEqual(feed.now().names, ["done"]);
  assert.equal((await held(user)).items.length, 1);
});

test("a burst of items is shown to the last one, each once: F-SOC-18 F-SOC-19", async (t) => {
  const user = someone();
  const feed = await openFeed(page(t, user));
  const names = Array.from({ length: 25 }, (_, number) => `burst ${number}`);
  await Promise.all(names.map((name) => tell(user, name)));
  await until("all are shown", () => feed.now().items.length >= names.length);
  assert.deepEqual([...feed.now().names].sort(), [...names].sort());
  await until("all are counted", () => feed.now().unread_count === names.length);
});

test("what one recipient is told reaches no one else: F-SOC-08", async (t) => {
  const [ann, bob] = [someone("ann"), someone("bob")];
  const [hers, his] = [await openFeed(page(t, ann)), await openFeed(page(t, bob))];
  await tell(ann, "for ann");
  await until("ann sees it", () => hers.now().names.includes("for ann"));
  await tell([ann, bob], "for both");
  await until("bob sees his", () => his.now().names.includes("for both"));
  assert.deepEqual(his.now().names, ["for both"]);
});

test("a badge follows what another device marks, without a reload: F-SOC-13 F-STA-23", async (t) => {
  const user = someone();
  for (const name of ["first", "second"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const [phone, laptop] = [await openFeed(page(t, user)), await openFeed(page(t, user))];
  assert.equal(laptop.now().unread_count, 2);
  const first = phone.now().items.find((item) => item.data.name === "first");
  await phone.markAsRead(first);
  await until("the other badge drops by one", () => laptop.now().unread_count === 1);
  await phone.markAllAsSeen();
  await until("the other's unseen count is zero", () => laptop.now().unseen_count === 0);
  await laptop.markAsUnread(first);
  await until("the badge rises again on the first device", () => phone.now().unread_count === 2);
  await laptop.markAsArchived(first);
  await until("an archived item leaves the other's counts", () => phone.now().total_count === 1);
});

test("an item missed while the connection was cut is shown after it: F-SOC-24", async (t) => {
  const user = someone();
  const line = await wire(t);
  const feed = await openFeed(page(t, user, { host: line.url }));
  await tell(user, "before");
  await until("the first is shown", () => feed.now().names.includes("before"));
  await quietly(async () => {
    line.cut();
    await tell(user, "missed");
    await arrived(user, "missed");
    line.mend();
    await until("the missed item is shown", () => feed.now().names.includes("missed"), 30_000);
  });
  assert.deepEqual(feed.now().names, ["missed", "before"]);
  assert.equal(feed.now().unread_count, 2);
});

test("a mark missed while the connection was cut shows on the badge after it: F-SOC-24", async (t) => {
  const user = someone();
  const line = await wire(t);
  await tell(user, "item");
  await arrived(user, "item");
  const feed = await openFeed(page(t, user, { host: line.url }));
  const other = await openFeed(page(t, user));
  await quietly(async () => {
    line.cut();
    await other.markAsRead(other.now().items);
    line.mend();
    await until("the badge has dropped", () => feed.now().unread_count === 0, 30_000);
  });
});

test("every mark is kept, counted, and taken back: F-STA-05", async (t) => {
  const user = someone();
  await tell(user, "item");
  await tell(user, "other");
  for (const name of ["item", "other"]) await arrived(user, name);
  const feed = await openFeed(page(t, user));
  const item = () => feed.now().items.find(({ data }) => data.name === "item");
  const look = async () => {
    const { items, unread_count, unseen_count } = await held(user);
    const { seen_at, read_at, interacted_at } = items.find(({ data }) => data.name === "item");
    return [!!seen_at, !!read_at, !!interacted_at, unseen_count, unread_count];
  };
  assert.equal((await feed.markAsSeen(item()))[0].seen_at !== null, true, "F-STA-05: an array of messages answers");
  assert.deepEqual((await look()).slice(0, 1), [true]);
  assert.equal((await look())[3], 1);
  await feed.markAsUnseen(item());
  assert.deepEqual(await look(), [false, false, false, 2, 2]);
  await feed.markAsRead(item());
  assert.equal((await look())[4], 1);
  await feed.markAsUnread(item());
  assert.deepEqual([(await look())[1], (await look())[4]], [false, 2]);
  await feed.markAsInteracted(item(), { type: "cell_click", action: "" });
  const [, isRead, isInteracted, , unread] = await look();
  assert.deepEqual([isRead, isInteracted, unread], [true, true, 1], "interacting implies reading");
  await feed.markAsSeen(feed.now().items);
  assert.equal((await look())[3], 0, "F-STA-05: a batch of several");
});

test("archiving takes an item and its share out of the counts, unarchiving brings it back: F-FED-37", async (t) => {
  const user = someone();
  for (const name of ["kept", "gone"]) {
    await tell(user, name);
    await arrived(user, name);
  }
  const client = page(t, user);
  const [feed, all] = [await openFeed(client), await openFeed(client, { archived: "include" })];
  const gone = feed.now().items.find(({ data }) => data.name === "gone");
  await feed.markAsArchived(gone);
  const counts = ({ total_count, unread_count, unseen_count }) => [total_count, unread_count, unseen_count];
  assert.deepEqual(counts(await held(user, { archived: "exclude" })), [1, 1, 1], "F-FED-37");
  assert.deepEqual(counts(await held(user, { archived: "include" })), [2, 2, 2], "F-FED-37");
  assert.deepEqual((await held(user, { archived: "only" })).names, ["gone"]);
  await feed.fetch();
  assert.deepEqual(feed.now().names, ["kept"]);
  await all.fetch();
  assert.deepEqual(all.now().names, ["gone", "kept"]);
  await all.markAsUnarchived(all.now().items[0]);
  assert.deepEqual(counts(await held(user)), [2, 2, 2]);
});

test("all are marked at once, but the reader's own only: F-STA-06 F-STA-07 F-STA-08", async (t) => {
  const [user, other] = [someone("reader"), someone("bystander")];
  for (const name of ["one", "two", "three"]) await tell([user, other], name);
  for (const name of ["one", "two", "three"]) await Promise.all([arrived(user, name), arrived(other, name)]);
  const feed = await openFeed(page(t, user));
  const operation = await feed.markAllAsSeen();
  assert.ok(operation.id && operation.status, `F-STA-06: a bulk operation answers, not ${JSON.stringify(operation)}`);
  await until("nothing is unseen", async () => (await held(user)).unseen_count === 0);
  await until("the operation is done", async () => {
    const now = await backend().bulkOperations.get(operation.id);
    return now.status === "completed" && now.processed_rows >= 3;
  });
  await feed.markAllAsRead();
  await until("nothing is unread", async () => (await held(user)).unread_count === 0);
  await feed.markAllAsArchived();
  await until("nothing is left", async () => (await held(user)).total_count === 0);
  const { total_count, unread_count, unseen_count } = await held(other);
  assert.deepEqual([total_count, unread_count, unseen_count], [3, 3, 3], "F-STA-07: a bystander's feed was marked");
});

test("marking all in a tenant's feed leaves other tenants' items alone: F-STA-06 F-STA-08", async (t) => {
  const user = someone();
  for (const tenant of ["north", "south"]) {
    await tell(user, tenant, { tenant });
    await arrived(user, tenant);
  }
  const feed = await openFeed(page(t, user), { tenant: "north" });
  assert.deepEqual(feed.now().names, ["north"]);
  await feed.markAllAsRead();
  await until("the north is read", async () => (await held(user, { tenant: "north" })).unread_count === 0);
  assert.equal((await held(user, { tenant: "south" })).unread_count, 1, "F-STA-06");
});

test("feeds that share a socket each hear of what they show: F-SOC-09 F-SOC-11 F-SOC-15 F-SOC-17 F-SOC-20", async (t) => {
  const user = someone();
  const client = page(t, user);
  const north = await openFeed(client, { tenant: "north" });
  const south = await openFeed(client, { tenant: "south" });
  const fetched = { north: 0, south: 0 };
  north.on("items.received.realtime", () => (fetched.north += 1));
  south.on("items.received.realtime", () => (fetched.south += 1));
  await tell(user, "to the south", { tenant: "south" });
  await until("the south sees it", () => south.now().names.includes("to the south"));
  await tell(user, "to the north", { tenant: "north" });
  await until("the north sees it", () => north.now().names.includes("to the north"));
  assert.deepEqual([north.now().names, south.now().names], [["to the north"], ["to the south"]]);
  assert.deepEqual([north.now().unread_count, south.now().unread_count], [1, 1], "F-SOC-15: counts under own filters");
  assert.deepEqual(fetched, { north: 1, south: 1 }, "F-SOC-17 F-SOC-20");
});

test("a user's id may hold colons, an at sign and letters of any script: F-SOC-07", async (t) => {
  for (const user of [`org:7:${someone()}`, `${someone()}@example.com`, `žofie-${someone()}`]) {
    const feed = await openFeed(page(t, user));
    await tell(user, "hello");
    await until(`${user} sees the item`, () => feed.now().names.includes("hello"));
  }
});

test("a page that changes its user shows the other's feed, live: F-SOC-11", async (t) => {
  const [ann, bob] = [someone("ann"), someone("bob")];
  const client = page(t, ann);
  const feed = await openFeed(client);
  client.authenticate(bob);
  await until("bob's topic is joined", () =>
    client.client().socket?.channels.some(({ topic, state }) => topic.endsWith(bob) && state === "joined"),
  );
  await tell(ann, "for ann");
  await arrived(ann, "for ann");
  await tell(bob, "for bob");
  await until("bob's item is shown", () => feed.now().names.includes("for bob"));
  assert.deepEqual(feed.now().names, ["for bob"]);
});

test("a wrong key opens neither feed nor socket: F-SOC-04", async (t) => {
  await quietly(async () => {
    const client = page(t, someone(), { key: "pk_test_nobodyknowsthisone" });
    const feed = client.feeds.initialize(place.channel);
    const socket = client.client().socket;
    const seen = { opened: 0, failed: 0 };
    socket.onOpen(() => (seen.opened += 1));
    socket.onError(() => (seen.failed += 1));
    feed.listenForUpdates();
    const { status, data } = await feed.fetch();
    assert.equal(status, "error");
    assert.equal(data.response.status, 401);
    assert.ok(data.response.data.message, "the refusal says why");
    assert.equal(feed.getState().networkStatus, "error");
    await until("the upgrade is refused", () => seen.failed > 0);
    assert.equal(seen.opened, 0, "F-SOC-04: refused before the upgrade, never opened and then closed");
  });
});
