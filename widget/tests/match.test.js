// What belongs to a view, told as the server tells it: F-FED-10 to F-FED-19.

import assert from "node:assert/strict";
import { test } from "node:test";

import { matches } from "../match.js";

/** @type {any} */ const ITEM = {
  id: "a", inserted_at: "2026-01-02T00:00:00.000000Z", read_at: null, seen_at: "t", archived_at: null, tenant: "acme",
  source: { key: "mention", categories: ["social", "work"] }, data: { n: 1, name: "x" }, blocks: [],
};

test("an item belongs where every option holds", () => {
  const holds = (/** @type {object} */ filter, more = {}) => matches(filter, { ...ITEM, ...more });
  for (const filter of [
    {}, { status: "unread" }, { status: "seen" }, { status: "all" }, { archived: "exclude" }, { archived: "include" }, { source: "mention" },
    { tenant: "acme" }, { has_tenant: true }, { tenant: "acme", has_tenant: true }, { workflow_categories: ["work", "else"] }, { workflow_categories: [] },
    { trigger_data: { n: 1 } }, { "inserted_at.gt": "2026-01-01T00:00:00.000000Z" }, { "inserted_at.lte": ITEM.inserted_at }, { source: null }, { page_size: 5 },
  ]) assert.ok(holds(filter), JSON.stringify(filter));
  for (const filter of [
    { status: "read" }, { status: "unseen" }, { archived: "only" }, { source: "else" }, { tenant: "other" }, { has_tenant: false },
    { workflow_categories: ["else"] }, { trigger_data: { n: "1" } }, { trigger_data: { n: 1, name: "y" } }, { "inserted_at.lt": ITEM.inserted_at },
    { "inserted_at.gte": "2026-01-03T00:00:00.000000Z" }, { status: "unread", source: "else" },
  ]) assert.ok(!holds(filter), JSON.stringify(filter));
  assert.ok(holds({ tenant: "acme" }, { tenant: null }), "what belongs to no tenant belongs to all: F-FED-13");
  assert.ok(!holds({ tenant: "acme", has_tenant: true }, { tenant: null }), "F-FED-14");
  assert.ok(!holds({ archived: "exclude" }, { archived_at: "t" }));
});
