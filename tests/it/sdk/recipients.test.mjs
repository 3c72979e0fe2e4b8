// What recipients want and where they are reached: preferences and channel data, as both clients have them.

import assert from "node:assert/strict";
import test from "node:test";
import Knock from "@knocklabs/node";
import { buildUserTokenGrant, signUserToken } from "@knocklabs/node/lib/tokenSigner";
import { Grants } from "@knocklabs/node/lib/userTokens";
import { arrived, backend, held, page, place, quietly, someone, tell, until, wire } from "./support.mjs";

const { phones, slack } = place.channels;
// What the server is configured with: whoever says nothing is sent no text messages.
const set = (id, said) =>
  ({ id, categories: null, workflows: null, channels: null, commercial_subscribed: null, channel_types: { sms: false }, ...said });

test("a page reads, sets and replaces its user's preferences: F-PRF-08 F-PRF-16 F-PRF-18", async (t) => {
  const { user } = page(t, someone());
  assert.deepEqual(await user.getPreferences(), set("default"));
  assert.deepEqual(await user.getAllPreferences(), [set("default")]);
  const said = { channel_types: { email: true }, workflows: { note: { channel_types: { in_app_feed: false } } } };
  const mine = set("default", { ...said, channel_types: { email: true, sms: false } });
  assert.deepEqual(await user.setPreferences(said), mine);
  assert.deepEqual(await user.getPreferences(), mine);
  const replaced = set("default", { categories: { news: false } });
  assert.deepEqual(await user.setPreferences({ categories: { news: false } }), replaced);
  const north = set("north", { workflows: { note: false } });
  assert.deepEqual(await user.setPreferences({ workflows: { note: false } }, { preferenceSet: "north" }), north);
  assert.deepEqual(await user.getPreferences({ preferenceSet: "north" }), north);
  assert.deepEqual(await user.getPreferences({ tenant: "north" }), replaced);
  assert.deepEqual(await user.getAllPreferences(), [replaced, north]);
});

test("what old pages write goes into the map or the entry that they name: F-PRF-22 F-AMB-35", async (t) => {
  const { preferences } = page(t, someone());
  await preferences.setChannelTypes({ email: false });
  await preferences.setChannelType("push", false);
  await preferences.setWorkflows({ note: true });
  await preferences.setWorkflow("build", { channel_types: { email: false } });
  await preferences.setCategories({ news: false });
  const whole = await preferences.setCategory("for you", true);
  assert.deepEqual(
    whole,
    set("default", {
      channel_types: { email: false, push: false, sms: false },
      workflows: { note: true, build: { channel_types: { email: false } } },
      categories: { news: false, "for you": true },
    }),
  );
  assert.deepEqual(await preferences.get(), whole);
  assert.deepEqual(await preferences.getAll(), [whole]);
  assert.deepEqual(await preferences.set({}), set("default"));
});

test("what a reader does not want does not reach their feed", async (t) => {
  const user = someone();
  const { user: reader } = page(t, user);
  await reader.setPreferences({ workflows: { note: false } });
  await tell(user, "unwanted");
  await reader.setPreferences({ workflows: { note: true } });
  await tell(user, "wanted");
  await arrived(user, "wanted");
  assert.deepEqual((await held(user)).names, ["wanted"]);
});

test("a backend sets, merges, lists and unsets preferences of users and objects", async () => {
  const knock = backend();
  const [user, object] = [someone(), someone("object")];
  for (const [resource, ...names] of [
    [knock.users, user],
    [knock.objects, "teams", object],
  ]) {
    const call = (method, ...more) => resource[method](...names, ...more);
    assert.deepEqual(await call("getPreferences", "default"), set("default"));
    await call("setPreferences", "default", { workflows: { a: false }, channel_types: { email: false } });
    const merged = await call("setPreferences", "default", {
      __persistence_strategy__: "merge",
      workflows: { b: { channel_types: { push: false } } },
      channel_types: { sms: true },
    });
    const expected = set("default", {
      workflows: { a: false, b: { channel_types: { push: false } } },
      channel_types: { email: false, sms: true },
    });
    assert.deepEqual(merged, expected, "F-PRF-09 F-PRF-10");
    assert.deepEqual(await call("listPreferences"), [expected]);
    await call("unsetPreferences", "default");
    assert.deepEqual(await call("getPreferences", "default"), set("default"), "F-PRF-19");
    await assert.rejects(
      call("setPreferences", "default", { channel_types: { pigeon: true } }),
      Knock.UnprocessableEntityError,
      "F-PRF-25",
    );
  }
});

test("a page registers a device and takes it back as the SDK's kits do: F-CHD-08 F-CHD-11 F-ERR-07", async (t) => {
  const client = page(t, someone());
  await quietly(() => assert.rejects(client.user.getChannelData({ channelId: phones }), "F-ERR-07: not set yet"));
  const device = { token: "ExponentPushToken[1]", locale: "de-DE", timezone: "Europe/Berlin" };
  const made = await client.user.setChannelData({ channelId: phones, channelData: { devices: [device] } });
  assert.deepEqual(made.data, { tokens: [device.token], devices: [device] });
  assert.deepEqual([made.__typename, made.channel_id], ["ChannelData", phones], "F-CHD-03");
  const known = await client.user.getChannelData({ channelId: phones });
  assert.deepEqual(known, { ...made, provider: "push_expo" });
  const devices = known.data.devices.filter(({ token }) => token !== device.token);
  await client.user.setChannelData({ channelId: phones, channelData: { devices } });
  const left = await client.user.getChannelData({ channelId: phones });
  assert.deepEqual(left.data, { tokens: [], devices: [] }, "F-CHD-11");
});

test("a backend sets, reads and unsets channel data of users and objects", async () => {
  const knock = backend();
  for (const [resource, ...names] of [
    [knock.users, someone()],
    [knock.objects, "teams", someone("object")],
    [knock.objects, "$tenants", someone("tenant")],
  ]) {
    const call = (method, channel, ...more) => resource[method](...names, channel, ...more);
    await assert.rejects(call("getChannelData", phones), Knock.NotFoundError, "F-CHD-04");
    const set = await call("setChannelData", phones, { data: { tokens: ["a"] } });
    assert.deepEqual(set.data, { tokens: ["a"], devices: [{ token: "a", locale: null, timezone: null }] }, "F-CHD-08");
    const chat = await call("setChannelData", slack, { data: { connections: [{ channel_id: "C1" }] } });
    const connection = { access_token: null, channel_id: "C1", channel_name: null, user_id: null };
    assert.deepEqual(chat.data, { connections: [connection], token: null }, "F-CHD-14");
    assert.deepEqual(await call("getChannelData", slack), chat);
    await call("unsetChannelData", phones);
    await assert.rejects(call("getChannelData", phones), Knock.NotFoundError, "F-CHD-04");
    const wrong = { data: { tokens: [1] } };
    await assert.rejects(call("setChannelData", phones, wrong), Knock.UnprocessableEntityError, "F-CHD-07");
    await assert.rejects(call("setChannelData", place.channel, wrong), Knock.UnprocessableEntityError, "F-CHD-05");
  }
});

test("the client's paths begin at the host's root, the one that it writes without a slash, too: F-TRN-04", async (t) => {
  const { url, requests } = await wire(t);
  const at = { collection: "teams", objectId: someone("team"), channelId: slack };
  const { public: key, signing } = place.production;
  const own = { type: "object", collection: at.collection, id: at.objectId };
  const grants = [buildUserTokenGrant(own, [Grants.ChannelDataRead, Grants.ChannelDataWrite])];
  const name = someone();
  const { objects, user } = page(t, name, { host: url, key, token: await signUserToken(name, { signingKey: signing, grants }) });
  const { data } = await objects.setChannelData({ ...at, data: { connections: [{ channel_id: "C1" }] } });
  assert.deepEqual((await objects.getChannelData(at)).data, data);
  assert.equal((await user.getPreferences()).id, "default");
  const path = `/v1/objects/teams/${at.objectId}/channel_data/${slack}`;
  const asked = requests().filter((line) => line.includes("/v1/"));
  assert.equal(asked[0], `PUT ${path} HTTP/1.1`);
  assert.ok(asked.includes(`GET ${path} HTTP/1.1`) && asked.every((line) => /^[A-Z]+ \/v1\//.test(line)), asked.join("\n"));
});

test("a signed token opens an object's channel data only if it names the object: F-GRN-09", async (t) => {
  const { secret, public: key, signing } = place.production;
  const [user, tenant] = [someone(), someone("tenant")];
  const own = [Grants.ChannelDataRead, Grants.ChannelDataWrite];
  const grants = [buildUserTokenGrant({ type: "tenant", id: tenant }, own)];
  const token = await signUserToken(user, { signingKey: signing, grants });
  const open = page(t, user, { key, token });
  const at = { collection: "$tenants", objectId: tenant, channelId: slack };
  const data = { token: { access_token: "xoxb-1" }, connections: [] };
  const made = await open.objects.setChannelData({ ...at, data });
  assert.deepEqual(made.data, data);
  assert.deepEqual((await open.objects.getChannelData(at)).data, data);
  const behind = backend({ apiKey: secret });
  assert.deepEqual((await behind.objects.getChannelData("$tenants", tenant, slack)).data, data);
  const plain = page(t, user, { key, token: await signUserToken(user, { signingKey: signing }) });
  await quietly(() => assert.rejects(plain.objects.getChannelData(at)));
  await until("the page's own user still reads", async () => (await plain.user.getPreferences()).id === "default");
});

test("a backend asks for a user's page of preferences, which a browser opens and sends: F-PCC-01 F-PCC-05 F-PCC-06", async () => {
  const knock = backend();
  const user = someone();
  await assert.rejects(knock.users.preferenceCenter.getConfig(user), Knock.NotFoundError, "F-AMB-63");
  await assert.rejects(knock.users.preferenceCenter.generateSignedURL(user), Knock.NotFoundError, "F-AMB-63");
  await knock.users.update(user, { email: "ann@example.com" });
  const { enabled, user_email, config } = await knock.users.preferenceCenter.getConfig(user);
  assert.deepEqual([enabled, user_email, config.rows.map(({ type }) => type)], [false, "ann@example.com", ["commercial_subscribed"]]);
  const { url, token } = await knock.users.preferenceCenter.generateSignedURL(user);
  assert.equal(url, `${place.url}/p/${token}`);
  const shown = await fetch(url);
  assert.match(await shown.text(), /ann@example\.com/);
  const saved = await fetch(url, { method: "POST", body: new URLSearchParams({ was: "commercial_subscribed" }) });
  assert.equal(saved.url, `${url}?saved`, "the browser is led back to the page");
  assert.match(await saved.text(), /Your preferences have been saved/);
  assert.equal((await knock.users.getPreferences(user, "default")).commercial_subscribed, false, "F-PCC-06");
});
