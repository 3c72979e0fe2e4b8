// Signed user tokens, made by the server's client, in an environment that demands them.

import assert from "node:assert/strict";
import test from "node:test";
import { buildUserTokenGrant, signUserToken } from "@knocklabs/node/lib/tokenSigner";
import { Grants } from "@knocklabs/node/lib/userTokens";
import { backend, closes, held, openFeed, page, place, quietly, someone, tell, until } from "./support.mjs";

const { secret, public: key, signing } = place.production;
const behind = backend({ apiKey: secret });
const sign = (user, options = {}) => signUserToken(user, { signingKey: signing, ...options });
const told = (user, name, more) => tell(user, name, more, behind);

test("a token of the SDK's signer opens feed and socket: F-SOC-04 F-SOC-08", async (t) => {
  const user = someone();
  const client = page(t, { id: user, name: "Ann" }, { key, token: await sign(user) });
  const feed = await openFeed(client);
  await told(user, "hello");
  await until("the item is shown", () => feed.now().names.includes("hello"));
  await feed.markAsRead(feed.now().items);
  assert.equal((await held(user, {}, behind)).unread_count, 0);
});

test("no token, another user's, a foreign key's and an expired one are refused: F-SOC-04", async (t) => {
  const [user, other] = [someone(), someone("other")];
  const valid = await sign(user);
  const refused = {
    none: undefined,
    "another user's": await sign(other),
    expired: await sign(user, { expiresInSeconds: -3600 }),
    tampered: valid.slice(0, -6) + (valid.endsWith("AAAAAA") ? "BBBBBB" : "AAAAAA"),
  };
  for (const [what, token] of Object.entries(refused)) {
    await quietly(async () => {
      const client = page(t, user, { key, token });
      const feed = client.feeds.initialize(place.channel);
      const { status, data } = await feed.fetch();
      assert.equal(status, "error", what);
      assert.ok([401, 403].includes(data.response.status), `${what}: ${data.response.status}`);
      assert.ok(data.response.data.message.length > 10, `${what}: ${JSON.stringify(data.response.data)}`);
      const socket = client.client().socket;
      const seen = { opened: 0, failed: 0 };
      socket.onOpen(() => (seen.opened += 1));
      socket.onError(() => (seen.failed += 1));
      if (what === "another user's") {
        // The token is good, so the socket opens; the topic of a user who is not its own is refused.
        const errors = [];
        feed.listenForUpdates();
        const channel = socket.channels.find(({ topic }) => topic.endsWith(user));
        channel.joinPush.receive("error", (reason) => errors.push(reason));
        await until("the join is refused: F-SOC-08", () => errors.length > 0);
        assert.ok(errors[0].reason, JSON.stringify(errors[0]));
      } else {
        feed.listenForUpdates();
        await until(`${what}: the upgrade is refused`, () => seen.failed > 0);
        assert.equal(seen.opened, 0, what);
      }
      client.logout();
    });
  }
});

test("a token that ends while its socket is open closes it with 4001: F-SOC-25 F-AMB-52", async (t) => {
  const user = someone();
  // A minute's leeway is given on `exp`: this one ends for good in three seconds.
  const client = page(t, user, { key, token: await sign(user, { expiresInSeconds: -57 }) });
  await quietly(async () => {
    const codes = closes(client);
    await openFeed(client);
    await until("the socket is closed", () => codes.length > 0, 20_000);
    assert.equal(codes[0], 4001);
  });
});

test("the SDK's refresh goes over to the new token, and the feed stays live: F-SOC-25", async (t) => {
  const user = someone();
  const asked = [];
  const client = page(t, user, {
    key,
    token: await sign(user, { expiresInSeconds: 4 }),
    timeBeforeExpirationInMs: 2_500,
    onUserTokenExpiring: async (old, claims) => {
      asked.push(claims.sub);
      return sign(user, { shouldGenerateJti: true });
    },
  });
  const feed = await openFeed(client);
  const first = client.client().socket;
  await until("the SDK asks for a new token", () => asked.length === 1);
  await until("a new socket has joined", () => {
    const socket = client.client().socket;
    return socket !== first && socket.channels.some(({ state }) => state === "joined");
  });
  await told(user, "after the refresh");
  await until("the item is shown", () => feed.now().names.includes("after the refresh"));
  assert.deepEqual(asked, [user]);
});

test("grants made by the SDK confine a feed to a tenant: F-GRN-11", async (t) => {
  const user = someone();
  await told(user, "north", { tenant: "north" });
  await told(user, "south", { tenant: "south" });
  await until("both are there", async () => (await held(user, {}, behind)).names.length === 2);
  const grants = [buildUserTokenGrant({ type: "tenant", id: "north" }, [Grants.UserFeedRead])];
  const client = page(t, user, { key, token: await sign(user, { grants }) });
  const feed = await openFeed(client, { tenant: "north" });
  assert.deepEqual(feed.now().names, ["north"]);
  await quietly(async () => {
    const other = client.feeds.initialize(place.channel, { tenant: "south" });
    const { status, data } = await other.fetch();
    assert.deepEqual([status, data.response?.status], ["error", 403]);
  });
});
