// The page at `/`: bells of one user, a form that rings them, code to copy, and a view of what their sockets say.

import "./bell.js";
import { h, icon } from "./dom.js";

/** @typedef {import("./bell.js").BellwireBell} BellwireBell */
/** @typedef {import("./socket.js").Frame} Frame */
/** @typedef {{key: string, name: string, description?: string, example?: object}} WorkflowFact */
/**
 * What `GET /demo/config` tells.
 * @typedef {{public_key: string, secret_key: string, user: string, recipient: object, actor: string, user_token: string, channel: string, workflows: WorkflowFact[]}} DemoFacts
 * @typedef {Record<string, string>} Codes The same said in several languages, by their names.
 */

const CONFIG = "/demo/config";
const TRIGGER = "/demo/trigger";
const FRAMES_KEPT = 200;
const UP = "M12 20V4m-7 7 7-7 7 7";
const DOWN = "M12 4v16m-7-7 7 7 7-7";

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/** When the last trigger was sent, until every device has rung. @type {{at: number, rung: string[]}|null} */ let ringing = null;

void begin();

async function begin() {
  const facts = await readFacts();
  if (!facts) return;
  byId("mode").hidden = byId("place").hidden = false;
  byId("user").textContent = facts.user;
  byId("own").append(bellOf(facts, { "title-badge": "", preferences: "" }));
  showCodes(byId("place"), placing(facts));
  showDevices(facts);
  showTrigger(facts);
}

async function readFacts() {
  try {
    const response = await fetch(CONFIG, { headers: { accept: "application/json" } });
    if (response.ok) return /** @type {DemoFacts} */ (await response.json());
    if (response.status !== 404) throw new Error(`status ${response.status}`);
    notice("This server is not in development mode, so there is no demo user to ring. Start one in development mode to try it here.");
  } catch (error) {
    notice(`The server did not tell this page its settings (${message(error)}). Reload to try again.`);
  }
  for (const id of ["stage", "behind"]) byId(id).hidden = true;
  return null;
}

/** @param {...(Node|string)} words */
function notice(...words) {
  byId("notice").replaceChildren(...words);
  byId("notice").hidden = false;
}

/** @param {unknown} error */
function message(error) {
  return error instanceof Error ? error.message : String(error);
}

// Code to copy

/** How the bell comes onto a page. @param {DemoFacts} facts @returns {Codes} */
function placing({ public_key, user, channel }) {
  const { origin } = location;
  return {
    HTML: `<script type="module" src="${origin}/bell.js"></script>

<bellwire-bell host="${origin}"
  public-key="${public_key}"
  channel="${channel}"
  user="${user}"></bellwire-bell>`,
    "Your own": `import { Feed } from "${origin}/feed.js";

const feed = new Feed({
  host: "${origin}",
  publicKey: "${public_key}",
  channel: "${channel}",
  user: "${user}",
});
feed.addEventListener("change", () => {
  console.log(feed.counts.unread_count, feed.items);
});
feed.start();`,
    "Knock’s React SDK": `<KnockProvider
  host="${origin}"
  apiKey="${public_key}"
  user={{ id: "${user}" }}>
  <KnockFeedProvider
    feedId="${channel}">
    {/* what you have already */}
  </KnockFeedProvider>
</KnockProvider>`,
  };
}

/** How what the form says is triggered by a server. @param {DemoFacts} facts @param {string} workflow @param {object} data @returns {Codes} */
function calling({ secret_key, recipient, actor }, workflow, data) {
  const { origin } = location;
  const json = (/** @type {any} */ value, indent = 0) => JSON.stringify(value, null, 2).replaceAll("\n", `\n${" ".repeat(indent)}`);
  return {
    // Within quotation marks of a shell a single one is spelled so.
    curl: `curl ${origin}/v1/workflows/${workflow}/trigger \\
  -H 'Authorization: Bearer ${secret_key}' \\
  -H 'Content-Type: application/json' \\
  -d '${json({ recipients: [recipient], actor, data }).replaceAll("'", "'\\''")}'`,
    Node: `import Knock from "@knocklabs/node";

const knock = new Knock({
  apiKey: "${secret_key}",
  baseURL: "${origin}",
});
await knock.workflows.trigger("${workflow}", {
  recipients: [${json(recipient, 2)}],
  actor: "${actor}",
  data: ${json(data, 2)},
});`,
    Python: `from knockapi import Knock

knock = Knock(
    api_key="${secret_key}",
    base_url="${origin}",
)
knock.workflows.trigger(
    key="${workflow}",
    recipients=[${json(recipient, 4)}],
    actor="${actor}",
    data=${python(json(data, 4))},
)`,
  };
}

/** JSON as Python spells it. @param {string} json */
function python(json) {
  const words = /** @type {Record<string, string>} */ ({ true: "True", false: "False", null: "None" });
  return json.replace(/"(?:[^"\\]|\\.)*"|true|false|null/g, (found) => words[found] ?? found);
}

/** Shows code in tabs, with a button to copy it; the tab that was chosen stays. @param {HTMLElement} card @param {Codes} codes */
function showCodes(card, codes) {
  const names = Object.keys(codes);
  const chosen = names.indexOf(card.dataset.chosen ?? "");
  const code = h("code");
  const pre = h("pre", { id: `${card.id}-code`, role: "tabpanel", tabIndex: 0 }, code);
  const tabs = names.map((name) => h("button", { type: "button", role: "tab", "aria-controls": pre.id }, name));
  const copies = h("button", { class: "small", type: "button" }, "Copy");
  const choose = (/** @type {number} */ at) => {
    card.dataset.chosen = names[at];
    pre.ariaLabel = names[at];
    code.replaceChildren(...coloured(codes[names[at]]));
    tabs.forEach((tab, other) => {
      tab.ariaSelected = String(at === other);
      tab.tabIndex = at === other ? 0 : -1;
    });
  };
  const list = h("div", { role: "tablist", "aria-label": card.ariaLabel }, ...tabs);
  tabs.forEach((tab, at) => tab.addEventListener("click", () => choose(at)));
  list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const to = (names.indexOf(card.dataset.chosen ?? "") + by + names.length) % names.length;
    choose(to);
    tabs[to].focus();
  });
  copies.addEventListener("click", () => void copy(copies, code));
  card.replaceChildren(h("h2", {}, card.ariaLabel), h("div", { class: "code-head" }, list, copies), pre);
  choose(Math.max(0, chosen));
}

/** Words between quotation marks, in a colour of their own. @param {string} text @returns {(Node|string)[]} */
function coloured(text) {
  return text.split(/("[^"\n]*")/).map((part, at) => (at % 2 ? h("span", { class: "text" }, part) : part));
}

/** @param {HTMLElement} button @param {HTMLElement} code */
async function copy(button, code) {
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    button.textContent = "Copied";
  } catch {
    // Only secure pages may write the clipboard: then the text is at least selected.
    getSelection()?.selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// Devices

/** @param {DemoFacts} facts */
function showDevices(facts) {
  const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" }).format(new Date());
  byId("devices").prepend(
    device(facts, "Laptop", h("div", { class: "chrome", "aria-hidden": "true" }, h("i"), h("i"), h("i"), h("span", { class: "address" }, "your-app.example"))),
    device(facts, "Phone", h("div", { class: "chrome", "aria-hidden": "true" }, clock, h("i"), "5G")),
  );
}

/** @param {DemoFacts} facts @param {string} name @param {HTMLElement} chrome */
function device(facts, name, chrome) {
  const bell = bellOf(facts, { inline: "", "no-share": "", "no-store": "" });
  bell.append(h("span", { class: "name" }, name));
  const lamp = h("span", { class: "lamp" });
  const plug = h("button", { class: "small", type: "button" }, "Go offline");
  const box = h("section", { class: `device ${name.toLowerCase()}`, "aria-label": name }, chrome, bell, h("div", { class: "state" }, lamp, plug));
  // The element starts when it enters the page; its feed exists from then on.
  queueMicrotask(() => watch(bell, name, lamp, plug));
  return box;
}

/** @param {DemoFacts} facts @param {Record<string, string>} more */
function bellOf({ public_key, user, user_token, channel }, more) {
  const bell = /** @type {BellwireBell} */ (document.createElement("bellwire-bell"));
  const attributes = { "public-key": public_key, user, token: user_token, channel, target: "_blank", ...more };
  for (const [key, value] of Object.entries(attributes)) bell.setAttribute(key, value);
  bell.refreshToken = async () => (await (await fetch(CONFIG)).json()).user_token;
  return bell;
}

/** @param {BellwireBell} bell @param {string} name @param {HTMLElement} lamp @param {HTMLButtonElement} plug */
function watch(bell, name, lamp, plug) {
  const { feed } = bell;
  if (!feed) return;
  // Each of these bells has a socket of its own, as on a device of its own.
  const { socket } = /** @type {import("./line.js").DirectLine} */ (feed.line);
  socket.addEventListener("frame", (event) => showFrame(name, /** @type {CustomEvent} */ (event).detail));
  const show = () => {
    lamp.dataset.status = feed.status;
    lamp.textContent = feed.version === null ? feed.status : `${feed.status}, version ${feed.version}`;
    plug.textContent = socket.state === "idle" ? "Go online" : "Go offline";
  };
  plug.addEventListener("click", () => {
    if (socket.state === "idle") socket.connect();
    else socket.disconnect();
    show();
  });
  feed.addEventListener("change", show);
  feed.addEventListener("item", () => rang(name));
  show();
}

/** @param {string} name */
function rang(name) {
  if (!ringing || ringing.rung.some((line) => line.startsWith(name))) return;
  ringing.rung.push(`${name} after ${Math.round(performance.now() - ringing.at)} ms`);
  showRung();
}

function showRung() {
  if (ringing?.rung.length) result("Rang on ", h("strong", {}, ringing.rung.join(", ")), ".");
}

// Trigger

/** @param {DemoFacts} facts */
function showTrigger(facts) {
  const { workflows } = facts;
  const select = byId("workflow");
  const check = () => {
    const data = checkData();
    if (data) showCodes(byId("call"), calling(facts, select.value, data));
  };
  select.append(...workflows.map(({ key, name }) => h("option", { value: key }, name || key)));
  const choose = () => {
    const workflow = workflows.find(({ key }) => key === select.value);
    byId("description").textContent = workflow?.description ?? "";
    byId("data").value = JSON.stringify(workflow?.example ?? {}, null, 2);
    check();
  };
  select.addEventListener("change", choose);
  byId("data").addEventListener("input", check);
  byId("trigger").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void trigger();
  });
  choose();
  byId("trigger").querySelector(".send").disabled = workflows.length === 0;
  if (workflows.length === 0) result("No workflow yet: put one into config/workflows.");
}

/** The data as typed, or null with the reason shown. */
function checkData() {
  const field = byId("data");
  try {
    const data = JSON.parse(field.value || "{}");
    if (typeof data !== "object" || data === null || Array.isArray(data)) throw new Error("the data must be a JSON object");
    field.setAttribute("aria-invalid", "false");
    result("");
    return data;
  } catch (error) {
    field.setAttribute("aria-invalid", "true");
    failed(`Not sent as it stands: ${message(error)}.`);
    return null;
  }
}

async function trigger() {
  const data = checkData();
  if (!data) return;
  ringing = { at: performance.now(), rung: [] };
  result("Sent.");
  try {
    const body = JSON.stringify({ workflow: byId("workflow").value, data });
    const response = await fetch(TRIGGER, { method: "POST", headers: { "content-type": "application/json" }, body });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) return failed(answer.message ?? `The server answered ${response.status}.`);
    if (!ringing.rung.length) result("Accepted", answer.workflow_run_id ? ` as run ${answer.workflow_run_id}.` : ".");
  } catch (error) {
    failed(`The server could not be reached (${message(error)}).`);
  }
}

/** @param {...(Node|string)} words */
function result(...words) {
  byId("result").classList.remove("bad");
  byId("result").replaceChildren(...words);
}

/** @param {string} words */
function failed(words) {
  result(words);
  byId("result").classList.add("bad");
}

// Wire

let isPaused = false;
let seen = 0;

/** @param {string} who @param {{direction: "in"|"out", at: number, frame: Frame}} told */
function showFrame(who, { direction, at, frame }) {
  if (isPaused || (isHeartbeat(frame) && !byId("heartbeats").checked)) return;
  const list = byId("frames");
  list.prepend(frameLine(who, direction, at, frame));
  while (list.children.length > FRAMES_KEPT) list.lastElementChild.remove();
  seen++;
  byId("wire-count").textContent = seen > FRAMES_KEPT ? `last ${FRAMES_KEPT} of ${seen}` : `${seen}`;
}

/** Heartbeats are asked and answered without a join. @param {Frame} frame */
function isHeartbeat([, , topic]) {
  return topic === "phoenix";
}

/** @param {string} who @param {"in"|"out"} direction @param {number} at @param {Frame} frame */
function frameLine(who, direction, at, frame) {
  const [, , , event, payload] = frame;
  const time = new Date(at);
  const details = h("details", {}, h("summary", {},
    h("time", { dateTime: time.toISOString() }, `${time.toLocaleTimeString([], { hour12: false })}.${String(time.getMilliseconds()).padStart(3, "0")}`),
    h("span", { class: "who" }, who),
    h("span", { class: "arrow", role: "img", "aria-label": direction === "in" ? "received" : "sent" }, icon(13, direction === "in" ? DOWN : UP)),
    h("span", { class: "event" }, event),
    h("span", { class: "gist" }, JSON.stringify(payload).slice(0, 400))));
  // Coloured only when looked at: most frames never are.
  details.addEventListener("toggle", () => details.children.length === 1 && details.append(pretty(frame)), { once: true });
  return h("li", { class: direction }, details);
}

/** @param {Frame} frame */
function pretty([joinRef, ref, topic, event, payload]) {
  const text = JSON.stringify({ join_ref: joinRef, ref, topic, event, payload }, null, 2);
  const code = h("code");
  let from = 0;
  for (const found of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null|-?\d[\d.eE+-]*)/g)) {
    code.append(text.slice(from, found.index), h("span", { class: found[2] ? "key" : found[1] ? "text" : "word" }, found[1] ?? found[0]), found[2] ?? "");
    from = found.index + found[0].length;
  }
  code.append(text.slice(from));
  return h("pre", {}, code);
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  byId("pause").textContent = isPaused ? "Paused" : "Pause";
});

byId("clear").addEventListener("click", () => {
  byId("frames").replaceChildren();
  seen = 0;
  byId("wire-count").textContent = "";
});
