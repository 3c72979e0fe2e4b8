// On a server, where there is no page, what a page loads does nothing and breaks nothing.

import assert from "node:assert/strict";
import { test } from "node:test";

test("the element's module loads where there are no elements", async () => {
  const { BellwireBell, Feed } = await import("../bell.js");
  assert.deepEqual([typeof BellwireBell, typeof Feed], ["function", "function"]);
  await import("../dist/bell.js");
});
