// <bellwire-bell>: a bell with a badge, and the list behind it.

import { bellStyle } from "./bell-style.js";
import { h, icon, ago } from "./dom.js";
import { Feed } from "./feed.js";
import { safeUrl, sanitize } from "./sanitize.js";
import { Socket } from "./socket.js";

/** @typedef {import("./feed.js").FeedItem} FeedItem */
/** @typedef {import("./feed.js").Block} Block */

const BELL = ["M6 8a6 6 0 0 1 12 0c0 7 3 9 3 9H3s3-2 3-9", "M10.3 21a1.94 1.94 0 0 0 3.4 0"];
const BOX = ["M3 4h18v4H3z", "M5 8v12h14V8", "M10 12h4"];
const TONES = 5;
const TICK_MS = 30_000;

/**
 * Attributes: `host` (the server; the page's own by default), `public-key`, `user`, `token`, `channel`,
 * `inline` (the list stands open below the bell), `target` (where links open), `theme` (`light`, `dark`; the page's by default).
 * Properties: `refreshToken` (asked for a new user token), `feed`, `socket`.
 * Events: `frame` (as the socket's), `item-click` {item} and `action-click` {item, button}, both cancelable.
 */
export class BellwireBell extends HTMLElement {
  static observedAttributes = ["host", "public-key", "user", "token", "channel"];

  // A page may set it before this module has defined the element.
  /** @type {(() => Promise<string>|string)|undefined} */ refreshToken = /** @type {any} */ (this).refreshToken;
  /** @type {Socket|null} */ socket = null;
  /** @type {Feed|null} */ feed = null;

  #parts = skeleton();
  /** @type {Map<string, {item: FeedItem, node: HTMLElement}>} */ #cells = new Map();
  /** @type {AbortController|null} */ #alive = null;
  /** @type {any} */ #ticker;
  #isOpen = false;
  #hasRestartPlanned = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [bellStyle()];
    const { bar, panel, bell, readAll, more, list, status } = this.#parts;
    root.append(bar, panel, status);
    bell.addEventListener("click", () => (this.#isOpen ? this.close() : this.open()));
    readAll.addEventListener("click", () => void this.feed?.markAll("read"));
    more.addEventListener("click", () => void this.feed?.loadMore());
    list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#walk(event));
    panel.addEventListener("pointerenter", () => this.#markSeen());
    root.addEventListener("keydown", (event) => {
      if (/** @type {KeyboardEvent} */ (event).key !== "Escape" || !this.#isOpen || this.hasAttribute("inline")) return;
      this.close();
      bell.focus();
    });
  }

  connectedCallback() {
    this.#alive = new AbortController();
    const { signal } = this.#alive;
    document.addEventListener("pointerdown", (event) => {
      if (!this.hasAttribute("inline") && !event.composedPath().includes(this)) this.close();
    }, { signal });
    this.#ticker = setInterval(() => this.#refreshTimes(), TICK_MS);
    this.#start();
    if (this.hasAttribute("inline")) this.open();
  }

  disconnectedCallback() {
    this.#alive?.abort();
    clearInterval(this.#ticker);
    this.#end();
  }

  attributeChangedCallback() {
    // Those that the page was written with come before the element is connected: they start it, once.
    if (!this.#alive || this.#alive.signal.aborted || this.#hasRestartPlanned) return;
    // Several attributes set one after the other are one change.
    this.#hasRestartPlanned = true;
    queueMicrotask(() => {
      this.#hasRestartPlanned = false;
      if (!this.isConnected) return;
      this.#end();
      this.#start();
    });
  }

  open() {
    this.#isOpen = true;
    this.#parts.panel.hidden = false;
    this.#parts.bell.setAttribute("aria-expanded", "true");
    if (this.hasAttribute("inline")) return;
    // It hangs from the bell's right end, unless that would push it out of the window.
    const { panel } = this.#parts;
    panel.classList.toggle("rightward", this.getBoundingClientRect().right < panel.offsetWidth);
    panel.focus();
    this.#markSeen();
  }

  close() {
    this.#isOpen = false;
    this.#parts.panel.hidden = true;
    this.#parts.bell.setAttribute("aria-expanded", "false");
  }

  #start() {
    const [apiKey, user, channel] = ["public-key", "user", "channel"].map((name) => this.getAttribute(name) ?? "");
    if (!apiKey || !user || !channel) return this.#render();
    this.socket = new Socket({
      host: this.getAttribute("host") || location.origin,
      apiKey,
      userToken: this.getAttribute("token") ?? undefined,
      refreshToken: this.refreshToken && (() => this.refreshToken?.() ?? ""),
    });
    this.feed = new Feed(this.socket, { channel, user });
    this.socket.addEventListener("frame", (event) => this.#repeat(event));
    this.socket.addEventListener("state", () => this.#render());
    this.feed.addEventListener("change", () => this.#render());
    this.feed.addEventListener("item", (event) => this.#arrived(/** @type {CustomEvent} */ (event).detail));
    this.feed.addEventListener("refused", (event) => this.#say(/** @type {CustomEvent} */ (event).detail.reason));
    this.feed.start();
    this.socket.connect();
  }

  #end() {
    const { feed, socket } = this;
    this.feed = this.socket = null;
    feed?.stop();
    socket?.disconnect();
    this.#render();
  }

  /** @param {Event} event */
  #repeat(event) {
    this.dispatchEvent(new CustomEvent("frame", { detail: /** @type {CustomEvent} */ (event).detail }));
  }

  #render() {
    const { badge, bell, readAll, more, empty, ghosts, note } = this.#parts;
    const { items = [], counts, status = "idle", hasMore = false, isLoadingMore = false, version = null, problem = "" } = this.feed ?? {};
    const unread = counts?.unread_count ?? 0;
    badge.textContent = unread > 99 ? "99+" : String(unread);
    badge.hidden = unread === 0;
    bell.setAttribute("aria-label", unread ? `Notifications, ${unread} unread` : "Notifications");
    readAll.disabled = unread === 0;
    more.hidden = !hasMore;
    more.disabled = isLoadingMore;
    more.textContent = isLoadingMore ? "Loading…" : "Show older";
    const isLoading = version === null && (status === "connecting" || status === "syncing");
    ghosts.hidden = !isLoading;
    empty.hidden = version === null || items.length > 0;
    note.textContent = explain(status, problem, this.socket?.state === "idle");
    note.hidden = !note.textContent;
    note.classList.toggle("bad", status === "refused" || status === "stopped");
    this.#renderList(items);
  }

  /** Keeps the nodes of items that did not change, with their focus and scroll. @param {FeedItem[]} items */
  #renderList(items) {
    const { list } = this.#parts;
    const ids = new Set(items.map((item) => item.id));
    for (const [id, cell] of this.#cells) {
      if (ids.has(id)) continue;
      if (cell.node.matches(":focus-within")) neighbour(cell.node)?.focus();
      cell.node.remove();
      this.#cells.delete(id);
    }
    let place = list.firstElementChild;
    for (const item of items) {
      let cell = this.#cells.get(item.id);
      if (!cell) {
        cell = { item, node: this.#cell(item) };
        this.#cells.set(item.id, cell);
      } else if (cell.item !== item) {
        if (cell.item.blocks !== item.blocks && JSON.stringify(cell.item.blocks) !== JSON.stringify(item.blocks)) cell.node.replaceChildren(...this.#cell(item).childNodes);
        cell.item = item;
      }
      paintState(cell.node, item);
      if (cell.node === place) place = place.nextElementSibling;
      else list.insertBefore(cell.node, place);
    }
  }

  /** @param {FeedItem} item */
  #cell(item) {
    const { id } = item;
    const now = () => this.#cells.get(id)?.item ?? item;
    const target = this.getAttribute("target") ?? undefined;
    const link = safeUrl(item.blocks.find((block) => block.name === "action_url")?.rendered);
    const dot = h("button", { class: "dot", type: "button" });
    const archive = h("button", { class: "archive", type: "button", title: "Archive", "aria-label": "Archive" }, icon(16, ...BOX));
    dot.addEventListener("click", () => void this.feed?.mark(now().read_at ? "unread" : "read", [id]));
    archive.addEventListener("click", () => void this.feed?.mark("archived", [id]));
    const blocks = item.blocks.filter((block) => block.name !== "action_url").map((block) => this.#block(block, now, target));
    const node = h("article", { class: "item", tabIndex: 0, "aria-labelledby": `body-${id}` },
      face(item),
      h("div", { class: "body", id: `body-${id}` }, ...blocks, h("div", { class: "foot" }, h("time", { dateTime: item.inserted_at, title: new Date(item.inserted_at).toLocaleString() }, ago(item.inserted_at, Date.now())))),
      link && h("a", { class: "cover", href: link, target: target ?? "", rel: "noopener", tabIndex: -1, "aria-label": "Open" }),
      dot, archive);
    node.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#clicked(event, now(), link));
    node.addEventListener("animationend", (/** @type {AnimationEvent} */ event) => event.animationName === "glow" && node.classList.remove("arrives"));
    node.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.target !== node) return;
      (node.querySelector(".cover") ?? node).click();
    });
    return node;
  }

  /** @param {Block} block @param {() => FeedItem} item @param {string|undefined} target */
  #block(block, item, target) {
    if (block.type === "button_set") return this.#buttons(block, item, target);
    const content = block.type === "markdown" ? sanitize(block.rendered ?? "", target) : block.rendered ?? "";
    return h("div", { class: "block" }, content);
  }

  /** @param {Block} block @param {() => FeedItem} item @param {string|undefined} target */
  #buttons(block, item, target) {
    const links = (block.buttons ?? []).map((button, index) => {
      const href = safeUrl(button.action);
      const style = index === 0 ? "action first" : "action";
      const node = href
        ? h("a", { class: style, href, target: target ?? "", rel: "noopener" }, button.label)
        : h("button", { class: style, type: "button" }, button.label);
      node.addEventListener("click", (/** @type {MouseEvent} */ event) => {
        event.stopPropagation();
        if (!this.#offer("action-click", { item: item(), button })) event.preventDefault();
        void this.feed?.mark("interacted", [item().id], { type: "button_click", name: button.name, label: button.label, action: button.action });
      });
      return node;
    });
    return h("div", { class: "actions" }, ...links);
  }

  /** @param {MouseEvent} event @param {FeedItem} item @param {string|null} link */
  #clicked(event, item, link) {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("button") || (target.closest("a") && !target.closest(".cover"))) return;
    if (!this.#offer("item-click", { item })) event.preventDefault();
    void this.feed?.mark("interacted", [item.id], { type: "cell_click", action: link ?? "" });
  }

  /** Tells the page first; false if it will handle the click itself. @param {string} name @param {object} detail */
  #offer(name, detail) {
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable: true, bubbles: true, composed: true }));
  }

  /** @param {FeedItem} item */
  #arrived(item) {
    const { bell } = this.#parts;
    bell.classList.remove("rings");
    void bell.offsetWidth; // starts the animation anew
    bell.classList.add("rings");
    this.#cells.get(item.id)?.node.classList.add("arrives");
    this.#say("New notification");
    if (this.#isOpen && !this.hasAttribute("inline") && document.visibilityState === "visible") this.#markSeen();
  }

  #markSeen() {
    if (this.feed && this.#isOpen && this.feed.counts.unseen_count > 0) void this.feed.markAll("seen");
  }

  /** @param {string} text */
  #say(text) {
    this.#parts.status.textContent = text;
  }

  #refreshTimes() {
    for (const { item, node } of this.#cells.values()) {
      const time = node.querySelector("time");
      if (time) time.textContent = ago(item.inserted_at, Date.now());
    }
  }

  /** @param {KeyboardEvent} event */
  #walk(event) {
    const nodes = /** @type {HTMLElement[]} */ ([...this.#parts.list.querySelectorAll(".item")]);
    const here = nodes.findIndex((node) => node.matches(":focus-within"));
    const step = /** @type {Record<string, number>} */ ({ ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: nodes.length - 1 })[event.key];
    if (step === undefined) return;
    event.preventDefault();
    nodes[Math.max(0, Math.min(step, nodes.length - 1))]?.focus();
  }
}

function skeleton() {
  const badge = h("span", { class: "badge", hidden: true, "aria-hidden": "true" });
  const bell = h("button", { class: "bell", type: "button", "aria-haspopup": "dialog", "aria-expanded": "false", "aria-label": "Notifications" }, icon(22, ...BELL), badge);
  const readAll = h("button", { class: "quiet", type: "button", disabled: true }, "Mark all as read");
  const note = h("div", { class: "note", role: "status", hidden: true });
  const ghosts = h("div", { class: "ghosts", "aria-hidden": "true" }, ...[0, 1, 2].map(() => h("div", { class: "ghost" }, h("i"), h("i"), h("i"))));
  const empty = h("div", { class: "empty", hidden: true }, icon(36, ...BELL), h("strong", {}, "All quiet"), "What concerns you will show up here.");
  const more = h("button", { class: "more", type: "button", hidden: true }, "Show older");
  const list = h("div", { role: "feed", "aria-labelledby": "title" });
  const scroll = h("div", { class: "list" }, list, ghosts, empty, more);
  const head = h("div", { class: "head" }, h("h2", { id: "title" }, "Notifications"), readAll);
  const panel = h("div", { class: "panel", role: "dialog", "aria-labelledby": "title", tabIndex: -1, hidden: true }, head, note, scroll);
  const bar = h("div", { class: "bar" }, h("slot"), bell);
  const status = h("span", { class: "spoken", role: "status" });
  return { badge, bell, readAll, note, ghosts, empty, more, list, panel, bar, status };
}

/** @param {HTMLElement} node @param {FeedItem} item */
function paintState(node, item) {
  const isRead = item.read_at !== null;
  node.classList.toggle("read", isRead);
  const label = isRead ? "Mark as unread" : "Mark as read";
  const dot = node.querySelector(".dot");
  dot?.setAttribute("aria-label", label);
  dot?.setAttribute("title", label);
}

/** @param {Element} node @returns {HTMLElement|null} */
function neighbour(node) {
  const near = [node.nextElementSibling, node.previousElementSibling].find((other) => other?.matches(".item"));
  return /** @type {HTMLElement|null} */ (near ?? null);
}

/** @param {FeedItem} item */
function face(item) {
  const actor = item.actors?.[0];
  const name = String(actor?.name ?? actor?.properties?.name ?? "");
  const avatar = safeUrl(actor?.avatar ?? actor?.properties?.avatar);
  if (avatar) return h("div", { class: "face" }, h("img", { src: avatar, alt: "", loading: "lazy", referrerPolicy: "no-referrer" }));
  const key = name || item.source?.key || "";
  const tone = [...key].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0) % TONES;
  const initials = name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase();
  return h("div", { class: `face tone${tone}`, "aria-hidden": "true" }, initials || icon(18, ...BELL));
}

/** @param {string} status @param {string} problem @param {boolean} isHungUp */
function explain(status, problem, isHungUp) {
  if (status === "offline") return isHungUp ? "Offline." : "Offline. Trying again.";
  if (status === "refused") return `The server refused this feed${problem ? `: ${problem}` : "."}`;
  if (status === "stopped") return problem || "Disconnected.";
  if (status === "idle") return "Disconnected.";
  return "";
}

if (!customElements.get("bellwire-bell")) customElements.define("bellwire-bell", BellwireBell);
