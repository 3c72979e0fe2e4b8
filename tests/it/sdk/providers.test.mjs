// Organisations that are connected to Slack and to Microsoft Teams, as both clients and the kits ask about them. A server of
// the test's own stands for both providers.

import assert from "node:assert/strict";
import http from "node:http";
import test, { after, before } from "node:test";
import { buildUserTokenGrant, signUserToken } from "@knocklabs/node/lib/tokenSigner";
import { Grants } from "@knocklabs/node/lib/userTokens";
import { backend, page, place, quietly, someone } from "./support.mjs";

const { slack, teams } = place.channels;
const [hostname, port] = process.env.SDK_TEST_PROVIDERS.split(":");
const ORGANISATION = "c0ffee00-0000-4000-8000-000000000001";

/** What was asked, with what was sent. */
const asked = [];
const answers = {
  "/api_url/auth.test": ({ token }) => (token === "xoxb-dead" ? { ok: false, error: "account_inactive" } : { ok: true }),
  "/api_url/auth.revoke": () => ({ ok: true, revoked: true }),
  "/api_url/oauth.v2.access": ({ form }) => ({ ok: form.get("code") === "good", error: "invalid_code", access_token: "xoxb-new" }),
  "/api_url/conversations.list": ({ form }) =>
    form.get("cursor")
      ? { ok: true, channels: [{ id: "C2", name: "two", is_private: true, context_team_id: "T1" }], response_metadata: { next_cursor: "" } }
      : { ok: true, channels: [{ id: "C1", name: "one", context_team_id: "T1" }], response_metadata: { next_cursor: "more" } },
  [`/login_url/${ORGANISATION}/oauth2/v2.0/token`]: () => ({ access_token: "graph-token" }),
  "/graph_url/v1.0/teams": ({ url }) =>
    url.searchParams.get("$skiptoken")
      ? { value: [{ id: "t2", displayName: "Two", description: null }] }
      : { value: [{ id: "t1", displayName: "One", description: "1" }], "@odata.nextLink": "https://graph.microsoft.com/v1.0/teams?$skiptoken=more" },
  "/graph_url/v1.0/teams/t1/channels": () => ({ value: [{ id: "19:a@thread.tacv2", displayName: "General", membershipType: "standard" }] }),
};

const providers = http.createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const url = new URL(request.url, "http://providers");
  const seen = { path: url.pathname, url, form: new URLSearchParams(body), token: request.headers.authorization?.slice("Bearer ".length) };
  asked.push(seen);
  const answer = answers[url.pathname];
  response.writeHead(answer ? 200 : 404, { "content-type": "application/json" });
  response.end(JSON.stringify(answer ? answer(seen) : {}));
});
before(() => new Promise((resolve) => providers.listen(Number(port), hostname, resolve)));
after(() => providers.close());

/** A page of somebody who may connect the tenant, in the environment in which tokens are asked for. */
async function kit(t, tenant) {
  const user = someone();
  const grants = [Grants.SlackChannelsRead, Grants.MsTeamsChannelsRead];
  const token = await signUserToken(user, {
    signingKey: place.production.signing,
    grants: [buildUserTokenGrant({ type: "tenant", id: tenant }, grants)],
  });
  return { token, client: page(t, user, { token, key: place.production.public }) };
}
const production = () => backend({ apiKey: place.production.secret });

/** What a browser gets at the address to which a provider sends it. */
const comeBack = (provider, state, more) =>
  fetch(`${place.url}/providers/${provider}/authenticate?${new URLSearchParams({ state: JSON.stringify(state), ...more })}`, { redirect: "manual" });

/** The state that SlackAuthButton and MsTeamsAuthButton send along. */
const stateOf = ({ client, token }, tenant, name, channel, more) => ({
  [name]: { object_id: tenant, collection: "$tenants" },
  channel_id: channel,
  public_key: client.apiKey,
  user_token: token,
  ...more,
});

test("a workspace is connected, asked about and let go: F-PRV-03 F-PRV-05 F-PRV-06 F-PRV-10 F-AMB-49", async (t) => {
  const tenant = someone("tenant");
  const { client, token } = await kit(t, tenant);
  const about = { tenant, knockChannelId: slack };
  const before = await quietly(() => client.slack.authCheck(about));
  // What the kit compares to know that nobody is connected: F-PRV-04.
  assert.deepEqual([before.response.status, before.response.data.message], [403, "Access token not set."]);
  const state = stateOf({ client, token }, tenant, "access_token_object", slack, { nonce: "n-1" });
  const back = await comeBack("slack", state, { code: "good" });
  assert.match(await back.text(), /postMessage\(\{"nonce":"n-1","type":"authComplete"\},"\*"\)/);
  assert.equal(asked.at(-1).form.get("client_secret"), "quite-secret");
  assert.deepEqual(await client.slack.authCheck(about), { connection: { ok: true } });
  assert.equal(asked.at(-1).token, "xoxb-new");
  const first = await client.slack.getChannels({ ...about, queryOptions: { limit: 1, types: "public_channel" } });
  const one = { id: "C1", name: "one", is_private: false, is_im: false, context_team_id: "T1" };
  assert.deepEqual(first, { slack_channels: [one], next_cursor: "more" });
  assert.equal(asked.at(-1).form.get("types"), "public_channel");
  const object = JSON.stringify({ collection: "$tenants", object_id: tenant });
  const all = [];
  for await (const channel of production().providers.slack.listChannels(slack, { access_token_object: object })) all.push(channel.id);
  assert.deepEqual(all, ["C1", "C2"]);
  assert.equal((await production().providers.slack.checkAuth(slack, { access_token_object: object })).connection.ok, true);
  // Exactly what the kit takes for success.
  assert.equal(await client.slack.revokeAccessToken(about), "ok");
  const after = await quietly(() => client.slack.authCheck(about));
  assert.equal(after.response.data.message, "Access token not set.");
});

test("a workspace that has thrown the app out is told apart from none: F-PRV-03", async (t) => {
  const tenant = someone("tenant");
  const { client } = await kit(t, tenant);
  await production().objects.setChannelData("$tenants", tenant, slack, { data: { token: { access_token: "xoxb-dead" }, connections: [] } });
  const { connection } = await client.slack.authCheck({ tenant, knockChannelId: slack });
  assert.deepEqual(connection, { ok: false, reason: "account_inactive", error: "account_inactive" });
  const object = JSON.stringify({ collection: "$tenants", object_id: tenant });
  assert.deepEqual(await production().providers.slack.revokeAccess(slack, { access_token_object: object }), { ok: "ok" });
});

test("who comes back goes on where the page wanted to, once it is connected: F-PRV-10", async (t) => {
  const tenant = someone("tenant");
  const own = await kit(t, tenant);
  const state = stateOf(own, tenant, "access_token_object", slack, { redirect_url: "https://app.example.com/settings" });
  const failed = await comeBack("slack", state, { code: "bad" });
  assert.deepEqual([failed.status, failed.headers.get("location")], [403, null]);
  assert.match(await failed.text(), /postMessage\("authFailed","https:\/\/app.example.com"\)/);
  const back = await comeBack("slack", state, { code: "good" });
  assert.deepEqual([back.status, back.headers.get("location")], [302, "https://app.example.com/settings"]);
});

test("an organisation of Microsoft's is connected, asked about and let go: F-PRV-07 F-PRV-08 F-PRV-10", async (t) => {
  const tenant = someone("tenant");
  const { client, token } = await kit(t, tenant);
  const about = { tenant, knockChannelId: teams };
  const before = await quietly(() => client.msTeams.authCheck(about));
  assert.deepEqual([before.response.status, before.response.data.message], [403, "Microsoft Teams tenant ID not set."]);
  const state = stateOf({ client, token }, tenant, "ms_teams_tenant_object", teams);
  const back = await comeBack("ms-teams", state, { admin_consent: "True", tenant: ORGANISATION });
  assert.match(await back.text(), /postMessage\("authComplete","\*"\)/);
  assert.deepEqual(await client.msTeams.authCheck(about), { connection: { ok: true, ms_teams_tenant_id: ORGANISATION } });
  const first = await client.msTeams.getTeams({ ...about, queryOptions: { $top: 1, $filter: "displayName eq 'One'" } });
  assert.deepEqual(first, { ms_teams_teams: [{ id: "t1", displayName: "One", description: "1" }], skip_token: "more" });
  assert.equal(asked.at(-1).url.searchParams.get("$filter"), "displayName eq 'One'");
  const object = JSON.stringify({ collection: "$tenants", object_id: tenant });
  const all = [];
  for await (const team of production().providers.msTeams.listTeams(teams, { ms_teams_tenant_object: object })) all.push(team.id);
  assert.deepEqual(all, ["t1", "t2"]);
  const { ms_teams_channels } = await client.msTeams.getChannels({ ...about, teamId: "t1" });
  assert.deepEqual(ms_teams_channels, [{ id: "19:a@thread.tacv2", displayName: "General", description: null, membershipType: "standard" }]);
  assert.equal(await client.msTeams.revokeAccessToken(about), "ok");
  const after = await quietly(() => client.msTeams.authCheck(about));
  assert.equal(after.response.data.message, "Microsoft Teams tenant ID not set.");
});

test("a page without the grant learns nothing: F-GRN-10", async (t) => {
  const tenant = someone("tenant");
  const { client } = await kit(t, someone("other"));
  await production().objects.setChannelData("$tenants", tenant, slack, { data: { token: { access_token: "xoxb-1" }, connections: [] } });
  const count = asked.length;
  for (const ask of [
    () => client.slack.authCheck({ tenant, knockChannelId: slack }),
    () => client.slack.getChannels({ tenant, knockChannelId: slack }),
    () => client.slack.revokeAccessToken({ tenant, knockChannelId: slack }),
    () => client.msTeams.authCheck({ tenant, knockChannelId: teams }),
  ]) {
    const refused = await quietly(ask);
    assert.equal(refused.response.status, 403);
    assert.match(refused.response.data.message, /does not give/);
  }
  assert.equal(asked.length, count);
});
