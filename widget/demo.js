// The page at `/`: two bells of one user, a form that rings them, and a view of what their sockets say.

import "./bell.js";
import { h } from "./dom.js";

/** @typedef {import("./bell.js").BellwireBell} BellwireBell */
/** @typedef {import("./socket.js").Frame} Frame */
/** @typedef {{key: string, name: string, description?: string, example?: object}} WorkflowFact */
/**
 * What `GET /demo/config` tells.
 * @typedef {{public_key: string, user: string, user_token: string, channel: string, workflows: WorkflowFact[], curl: string, snippet?: string}} DemoFacts
 */

const CONFIG = "/demo/config";
const TRIGGER = "/demo/trigger";
const FRAMES_KEPT = 200;

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/** When the last trigger was sent, until every device has rung. @type {{at: number, rung: string[]}|null} */ let ringing = null;

void begin();

async function begin() {
  const facts = await readFacts();
  if (!facts) return;
  byId("mode").hidden = false;
  byId("user").textContent = facts.user;
  byId("snippet").textContent = facts.snippet || snippet(facts);
  byId("curl").textContent = facts.curl;
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
  for (const id of ["stage", "codes"]) byId(id).hidden = true;
  byId("frames").closest(".wire").hidden = true;
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

/** @param {DemoFacts} facts */
function snippet(facts) {
  return [
    `<script type="module" src="${location.origin}/bell.js"></script>`,
    `<bellwire-bell host="${location.origin}" public-key="${facts.public_key}"`,
    `  channel="${facts.channel}"`,
    `  user="${facts.user}" token="${facts.user_token}">`,
    `</bellwire-bell>`,
  ].join("\n");
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
  const bell = /** @type {BellwireBell} */ (document.createElement("bellwire-bell"));
  const attributes = { "public-key": facts.public_key, user: facts.user, token: facts.user_token, channel: facts.channel, inline: "", target: "_blank", "no-share": "", "no-store": "" };
  for (const [key, value] of Object.entries(attributes)) bell.setAttribute(key, value);
  bell.refreshToken = async () => (await (await fetch(CONFIG)).json()).user_token;
  bell.append(h("span", { class: "name" }, name));
  const lamp = h("span", { class: "lamp" });
  const plug = h("button", { class: "small", type: "button" }, "Go offline");
  const box = h("section", { class: `device ${name.toLowerCase()}`, "aria-label": name }, chrome, bell, h("div", { class: "state" }, lamp, plug));
  // The element starts when it enters the page; its feed exists from then on.
  queueMicrotask(() => watch(bell, name, lamp, plug));
  return box;
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
function showTrigger({ workflows }) {
  const select = byId("workflow");
  select.append(...workflows.map(({ key, name }) => h("option", { value: key }, name || key)));
  const choose = () => {
    const workflow = workflows.find(({ key }) => key === select.value);
    byId("description").textContent = workflow?.description ?? "";
    byId("data").value = JSON.stringify(workflow?.example ?? {}, null, 2);
    checkData();
  };
  select.addEventListener("change", choose);
  byId("data").addEventListener("input", checkData);
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
    h("span", { class: "arrow", role: "img", "aria-label": direction === "in" ? "received" : "sent" }, direction === "in" ? "↓" : "↑"),
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

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => void copy(/** @type {HTMLElement} */ (button)));
}

/** @param {HTMLElement} button */
async function copy(button) {
  const code = byId(button.dataset.copy ?? "");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // Only secure pages may write the clipboard: then the text is at least selected.
    getSelection()?.selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
