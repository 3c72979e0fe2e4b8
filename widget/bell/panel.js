// What opens behind the bell: the feed in tabs, its marks, and the reader's preferences.

import { ago, h, icon, sheet } from "../dom.js";
import { ALL } from "../feed.js";
import { fill } from "../locale.js";
import { chime, mayAsk, notify, showToast } from "./alerts.js";
import { BELL, BOX, face, itemOf, linkOf, makeCell, paintCell, textOf } from "./cell.js";
import { List } from "./list.js";
import { STYLE } from "./style.js";

/** @typedef {import("../bell.js").BellwireBell} BellwireBell */
/** @typedef {import("../bell.js").Setting} Setting */
/** @typedef {import("../feed.js").FeedItem} FeedItem */
/** @typedef {import("../feed.js").MarkAs} MarkAs */
/** @typedef {import("../feed.js").View} View */
/** @typedef {import("../locale.js").Messages} Messages */

const GEAR = ["M4 7h9m5 0h2M4 17h2m5 0h9", "M15.5 4.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5Z", "M8.5 14.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5Z"];
const CROSS = ["M6 6l12 12M18 6 6 18"];
const CHECKS = ["m2 13 5 5L17 8", "m11 16 2 2L23 8"];
const CHEVRON = ["M15 5l-7 7 7 7"];
const TICK_MS = 30_000;
const SNACK_MS = 8_000;
/** A connection that is back in less than this was not away. */
const OFFLINE_MS = 1_500;
const ARCHIVED = "archived";

/** @type {View} */ const NOTHING = { items: [], counts: { total_count: 0, unread_count: 0, unseen_count: 0 }, hasMore: false, isLoaded: false, isLoading: false, hasFailed: false };
/** @type {Partial<Record<MarkAs, keyof Messages>>} */
const DONE = { read: "doneRead", unread: "doneUnread", archived: "doneArchived", unarchived: "doneUnarchived" };

const sheetOfPanel = sheet(STYLE);

export class Panel {
  /** What it adds to the bell. @type {HTMLElement[]} */ nodes;

  /** @type {BellwireBell} */ #bell;
  /** @type {Setting} */ #setting;
  /** @type {ReturnType<typeof skeleton>} */ #parts;
  /** @type {import("./cell.js").Desk} */ #desk;
  /** @type {List} */ #list;
  #view = ALL;
  /** @type {Set<string>} */ #selected = new Set();
  /** The item that the keyboard comes back to. */ #current = "";
  /** @type {IntersectionObserver} */ #end;
  /** @type {any} */ #ticker = setInterval(() => this.#refreshTimes(), TICK_MS);
  /** @type {any} */ #snackTimer;
  /** @type {any} */ #offlineTimer;
  #isOffline = false;
  #isStopped = false;

  /** @param {BellwireBell} bell @param {Setting} setting */
  constructor(bell, setting) {
    const { texts, tabs, locale } = setting;
    this.#bell = bell;
    this.#setting = setting;
    this.#view = tabs[0]?.name ?? ALL;
    const parts = (this.#parts = skeleton(texts, tabs, bell.hasAttribute("preferences")));
    this.nodes = [parts.panel, parts.toasts];
    const root = /** @type {ShadowRoot} */ (bell.shadowRoot);
    if (!root.adoptedStyleSheets.includes(sheetOfPanel())) root.adoptedStyleSheets.push(sheetOfPanel());
    this.#desk = {
      texts,
      locale,
      target: bell.getAttribute("target") ?? "",
      clicked: (item, link, event) => {
        if (!bell.offer("item-click", { item, link })) event.preventDefault();
        void this.#feed?.mark("interacted", [item.id], { type: "cell_click", action: link ?? "" });
      },
      pressed: (item, button, event) => {
        if (!bell.offer("action-click", { item, button })) event.preventDefault();
        const { name, label, action } = button;
        void this.#feed?.mark("interacted", [item.id], { type: "button_click", name, label, action });
      },
      toggleRead: (item) => this.#mark(item.read_at ? "unread" : "read", [item.id]),
      toggleArchived: (item) => this.#mark(item.archived_at ? "unarchived" : "archived", [item.id]),
      toggleSelected: ({ id }) => {
        if (!this.#selected.delete(id)) this.#selected.add(id);
        this.draw();
      },
      isSelected: (id) => this.#selected.has(id),
    };
    this.#list = new List(parts.list, parts.scroll, {
      make: (item) => makeCell(item, this.#desk),
      paint: (node, item, place, all) => this.#paint(node, item, place, all),
      seen: (ids) => this.#seen(ids),
    });
    const more = () => void this.#feed?.loadMore(this.#view);
    this.#end = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), { root: parts.scroll, rootMargin: "600px 0px" });
    this.#end.observe(parts.more);
    this.#wire(more);
    document.addEventListener("visibilitychange", this.#look);
  }

  /** What stands in view is seen when the page is. */
  #look = () => this.#list.look();

  /** Whether what is older can go without anybody missing it. */
  get isAtTop() {
    const { main, scroll } = this.#parts;
    return !main.hidden && !this.#selected.size && !scroll.scrollTop;
  }

  /** Shows it; `isFloating` says that it stands above the page. @param {boolean} isFloating */
  open(isFloating) {
    const { panel, toasts } = this.#parts;
    panel.hidden = false;
    toasts.replaceChildren();
    this.draw();
    if (!isFloating) return;
    // It hangs from the bell's end, unless that would push it out of the window.
    panel.classList.remove("startward");
    const { left, right } = panel.getBoundingClientRect();
    panel.classList.toggle("startward", left < 0 || right > innerWidth);
    panel.focus();
  }

  /** Hides it; says whether it had the focus. */
  close() {
    const { panel } = this.#parts;
    const hadFocus = panel.matches(":focus-within");
    panel.hidden = true;
    return hadFocus;
  }

  /** Takes it away for good. */
  stop() {
    for (const timer of [this.#ticker, this.#snackTimer, this.#offlineTimer]) clearTimeout(timer);
    this.#isStopped = true;
    document.removeEventListener("visibilitychange", this.#look);
    this.#list.stop();
    this.#end.disconnect();
    for (const node of this.nodes) node.remove();
  }

  draw() {
    const { readAll, archiveAll, more, empty, emptyTitle, ghosts, note, tabs, allow, bulk, bulkCount, bulkRead, panel, list } = this.#parts;
    const { texts } = this.#setting;
    const { status = "idle", version = null } = this.#feed ?? {};
    const { items, counts, hasMore, isLoaded, isLoading, hasFailed } = this.#shown;
    for (const tab of tabs.children) this.#drawTab(/** @type {HTMLElement} */ (tab));
    readAll.disabled = !counts.unread_count;
    archiveAll.disabled = !items.length || this.#view === ARCHIVED;
    const isFirst = !!this.#feed && (version === null || (!isLoaded && !items.length && !hasFailed));
    ghosts.hidden = !isFirst || !["connecting", "syncing", "live"].includes(status);
    more.hidden = !hasMore || isFirst;
    more.textContent = isLoading ? texts.loading : texts.reload;
    more.classList.toggle("waits", isLoading || status === "live");
    empty.hidden = isFirst || hasFailed || items.length > 0;
    emptyTitle.textContent = this.#view === "unread" ? texts.emptyUnread : this.#view === ARCHIVED ? texts.emptyArchived : texts.empty;
    this.#waitOffline(status);
    note.textContent = this.#explain(status);
    note.hidden = !note.textContent;
    note.classList.toggle("bad", status === "refused" || status === "stopped");
    allow.hidden = !this.#bell.hasAttribute("notifications") || !mayAsk();
    for (const id of this.#selected) if (!items.some((item) => item.id === id)) this.#selected.delete(id);
    bulk.hidden = !this.#selected.size;
    bulkCount.textContent = fill(texts.selected, this.#selected.size);
    bulkRead.textContent = this.#isAllRead ? texts.markUnread : texts.markRead;
    if (!items.some(({ id }) => id === this.#current)) this.#current = "";
    list.hidden = !items.length;
    this.#list.show(items);
    if (!isLoaded && !isLoading && !hasFailed && status === "live" && !panel.hidden) void this.#feed?.loadMore(this.#view);
  }

  /** Something new has come. @param {FeedItem} item */
  async arrived(item) {
    const bell = this.#bell;
    const isSeen = document.visibilityState === "visible";
    if (isSeen) requestAnimationFrame(() => this.#list.cell(item.id)?.node.classList.add("arrives"));
    if (isSeen && bell.hasAttribute("toasts") && this.#parts.panel.hidden) this.#toast(item);
    if (isSeen && bell.hasAttribute("sound")) void chime(bell.getAttribute("sound") || undefined);
    // Of the tabs, when nobody sees any, the one that leads tells the browser.
    const line = this.#feed?.line;
    if (!line || !bell.hasAttribute("notifications") || line.isRelayed || (await line.isWatched()) || this.#isStopped) return;
    notify(item.actors?.[0]?.name ?? this.#setting.texts.title, textOf(item), item.id, () => this.#follow(item));
  }

  /** A mark was rolled back. @param {{reason: string}} refusal */
  refused({ reason }) {
    this.#snack(fill(this.#setting.texts.failed, reason));
  }

  get #feed() {
    return this.#setting.feed;
  }

  get #shown() {
    return this.#feed?.view(this.#view) ?? NOTHING;
  }

  /** @param {() => void} more */
  #wire(more) {
    const { readAll, archiveAll, undo, close, gear, back, allow, bulkRead, bulkArchive, bulkClear, tabs, list, panel } = this.#parts;
    /** @type {[HTMLElement, () => void][]} */
    const acts = [
      [readAll, () => this.#markAll("read")],
      [archiveAll, () => this.#markAll("archived")],
      [undo, () => this.#undo()],
      [this.#parts.more, more],
      [close, () => this.#bell.close()],
      [gear, () => void this.#showPreferences(true)],
      [back, () => void this.#showPreferences(false)],
      [allow, () => void Notification.requestPermission().then(() => this.draw())],
      [bulkRead, () => this.#markSelected(this.#isAllRead ? "unread" : "read")],
      [bulkArchive, () => this.#markSelected(this.#view === ARCHIVED ? "unarchived" : "archived")],
      [bulkClear, () => this.#clear()],
    ];
    for (const [button, act] of acts) button.addEventListener("click", act);
    for (const tab of tabs.children) tab.addEventListener("click", () => this.#choose(/** @type {HTMLElement} */ (tab).dataset.view ?? ALL));
    tabs.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#turn(event));
    list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    list.addEventListener("focusin", (/** @type {FocusEvent} */ event) => this.#came(/** @type {HTMLElement} */ (event.target).closest(".item")));
    panel.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#keepInside(event));
  }

  /** The keyboard has come to an item. @param {Element|null} cell */
  #came(cell) {
    const id = cell && itemOf(cell).id;
    if (!id || id === this.#current) return;
    this.#current = id;
    this.draw();
  }

  /** @param {HTMLElement} node @param {FeedItem} item @param {number} place @param {number} all */
  #paint(node, item, place, all) {
    paintCell(node, item, this.#desk);
    node.ariaPosInSet = String(place + 1);
    node.ariaSetSize = String(this.#shown.hasMore ? -1 : all);
    const tabIndex = item.id === this.#current || (!this.#current && !place) ? 0 : -1;
    if (node.tabIndex !== tabIndex) for (const one of [node, ...node.querySelectorAll("button")]) one.tabIndex = tabIndex;
  }

  /** @param {HTMLElement} tab */
  #drawTab(tab) {
    const name = tab.dataset.view ?? ALL;
    const isChosen = name === this.#view;
    tab.ariaSelected = String(isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    const count = name === ARCHIVED ? 0 : this.#feed?.view(name).counts.unread_count;
    /** @type {HTMLElement} */ (tab.lastElementChild).textContent = count ? String(count) : "";
  }

  /** @param {string} status */
  #waitOffline(status) {
    if (status !== "offline") {
      clearTimeout(this.#offlineTimer);
      this.#offlineTimer = undefined;
      this.#isOffline = false;
      return;
    }
    this.#offlineTimer ??= setTimeout(() => {
      this.#isOffline = true;
      this.draw();
    }, OFFLINE_MS);
  }

  /** @param {string} status */
  #explain(status) {
    const { texts } = this.#setting;
    const problem = this.#feed?.problem ?? "";
    if (status === "offline") return this.#isOffline ? texts.retrying : "";
    if (status === "refused") return fill(texts.refused, problem);
    return status === "stopped" ? fill(texts.stopped, problem) : "";
  }

  /** @param {FeedItem} item */
  #toast(item) {
    const { texts } = this.#setting;
    const close = h("button", { class: "plain", type: "button", "aria-label": texts.close }, icon(14, ...CROSS));
    const open = h("button", { class: "toast-text", type: "button" }, textOf(item));
    const toast = h("div", { part: "toast" }, face(item), open, close);
    close.addEventListener("click", () => toast.remove());
    open.addEventListener("click", () => (toast.remove(), this.#follow(item)));
    showToast(this.#parts.toasts, toast);
  }

  /** Goes where an item leads, or shows it. @param {FeedItem} item */
  #follow(item) {
    const link = linkOf(item);
    void this.#feed?.mark("interacted", [item.id], { type: "cell_click", action: link ?? "" });
    if (!this.#bell.offer("item-click", { item, link })) return;
    if (link) window.open(link, this.#desk.target || "_self", "noopener");
    else void this.#bell.open();
  }

  /** @param {string[]} ids */
  #seen(ids) {
    if (this.#parts.panel.hidden || document.visibilityState !== "visible") return;
    const unseen = ids.filter((id) => this.#list.cell(id)?.item.seen_at === null);
    if (unseen.length) void this.#feed?.mark("seen", unseen);
  }

  /** @param {MarkAs} as @param {string[]} ids */
  #mark(as, ids) {
    void this.#feed?.mark(as, ids);
    this.#offerUndo();
  }

  /** @param {MarkAs} as */
  #markAll(as) {
    void this.#feed?.markAll(as, this.#view);
    this.#offerUndo();
  }

  /** @param {MarkAs} as */
  #markSelected(as) {
    const ids = [...this.#selected];
    this.#clear();
    this.#mark(as, ids);
  }

  #clear() {
    const { bulk, panel } = this.#parts;
    const hadFocus = bulk.matches(":focus-within");
    this.#selected.clear();
    this.draw();
    if (hadFocus) panel.focus();
  }

  get #isAllRead() {
    return this.#shown.items.every((item) => !this.#selected.has(item.id) || item.read_at);
  }

  #offerUndo() {
    const done = this.#feed?.undoable;
    const text = done && DONE[done.as];
    if (text) this.#snack(fill(this.#setting.texts[text], done.count), true);
  }

  #undo() {
    void this.#feed?.undo();
    this.#hideSnack();
  }

  /** @param {string} text */
  #snack(text, canUndo = false) {
    const { snack, snackText, undo } = this.#parts;
    snackText.textContent = text;
    undo.hidden = !canUndo;
    snack.hidden = false;
    this.#hideSnackSoon();
  }

  /** It waits while it is pointed at or has the focus. */
  #hideSnackSoon() {
    clearTimeout(this.#snackTimer);
    const isUsed = () => this.#parts.snack.matches(":hover, :focus-within");
    this.#snackTimer = setTimeout(() => (isUsed() ? this.#hideSnackSoon() : this.#hideSnack()), SNACK_MS);
  }

  #hideSnack() {
    const { snack, panel } = this.#parts;
    if (snack.matches(":focus-within")) panel.focus();
    snack.hidden = true;
  }

  /** @param {string} name */
  #choose(name) {
    this.#view = name;
    this.#selected.clear();
    this.#current = "";
    this.#parts.scroll.scrollTop = 0;
    this.draw();
  }

  /** @param {boolean} isShown */
  async #showPreferences(isShown) {
    const { main, settings, gear, back, pane } = this.#parts;
    main.hidden = isShown;
    settings.hidden = !isShown;
    (isShown ? back : gear).focus();
    if (!isShown) return;
    const { showPreferences } = await import("./preferences.js");
    void showPreferences(pane, this.#setting.access, this.#setting.texts, (text) => this.#snack(text));
  }

  #refreshTimes() {
    for (const time of this.#parts.list.querySelectorAll("time")) time.textContent = ago(time.dateTime, Date.now(), this.#setting.locale);
  }

  /** Arrow keys between tabs. @param {KeyboardEvent} event */
  #turn(event) {
    const tabs = /** @type {HTMLElement[]} */ ([...this.#parts.tabs.children]);
    const at = tabs.findIndex((tab) => tab.ariaSelected === "true");
    const forward = this.#parts.panel.matches(":dir(rtl)") ? -1 : 1;
    const to = /** @type {Record<string, number>} */ ({ ArrowRight: at + forward, ArrowLeft: at - forward, Home: 0, End: tabs.length - 1 })[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    this.#choose(tab.dataset.view ?? ALL);
    tab.focus();
  }

  /** The keys of the list: arrows, Home, End; Enter opens; x selects, r reads, e archives, z takes back. @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { items } = this.#shown;
    const at = this.#list.focused;
    const item = items[at];
    if (!item) return;
    const { node } = /** @type {import("./list.js").Cell} */ (this.#list.cell(item.id));
    const ids = this.#selected.size ? [...this.#selected] : [item.id];
    /** @type {Record<string, number>} */ const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 5, PageUp: at - 5, Home: 0, End: items.length - 1 };
    /** @type {Record<string, () => void>} */ const acts = {
      x: () => this.#desk.toggleSelected(item),
      r: () => this.#mark(items.every(({ id, read_at }) => !ids.includes(id) || read_at) ? "unread" : "read", ids),
      e: () => this.#mark(item.archived_at ? "unarchived" : "archived", ids),
      z: () => this.#undo(),
    };
    const opens = event.key === "Enter" && event.target === node;
    const act = opens ? () => /** @type {HTMLElement} */ (node.querySelector(".cover") ?? node).click() : event.key in moves ? () => this.#list.focus(moves[event.key]) : acts[event.key];
    if (!act) return;
    event.preventDefault();
    if (this.#selected.size && (event.key === "r" || event.key === "e")) this.#selected.clear();
    act();
  }

  /** Escape closes what is open; Tab stays in the panel while it floats above the page. @param {KeyboardEvent} event */
  #keepInside(event) {
    const isFloating = !this.#bell.hasAttribute("inline");
    const { settings, panel } = this.#parts;
    if (event.key === "Escape") {
      if (this.#selected.size) this.#clear();
      else if (!settings.hidden) void this.#showPreferences(false);
      else if (isFloating) this.#bell.close();
      else return;
      event.stopPropagation();
    }
    if (event.key !== "Tab" || !isFloating) return;
    const all = /** @type {HTMLElement[]} */ ([...panel.querySelectorAll("button, a[href], input, [tabindex='0']")]);
    const stops = all.filter((one) => one.tabIndex >= 0 && !one.matches(":disabled") && one.checkVisibility());
    const here = /** @type {ShadowRoot} */ (this.#bell.shadowRoot).activeElement;
    const [first, last] = [stops[0], stops[stops.length - 1]];
    if (here !== (event.shiftKey ? first : last) && !(event.shiftKey && here === panel)) return;
    event.preventDefault();
    (event.shiftKey ? last : first)?.focus();
  }
}

/** @param {Messages} t @param {{name: string, label: string}[]} tabs @param {boolean} hasPreferences */
function skeleton(t, tabs, hasPreferences) {
  const button = (/** @type {string} */ name, /** @type {string} */ text, more = {}) => h("button", { class: name, type: "button", ...more }, text);
  const drawn = (/** @type {string} */ label, /** @type {string[]} */ drawing, more = {}) =>
    h("button", { class: "plain", type: "button", "aria-label": label, title: label, ...more }, icon(18, ...drawing));
  const readAll = drawn(t.markAllRead, CHECKS);
  const archiveAll = drawn(t.archiveAll, BOX);
  const gear = drawn(t.preferences, GEAR, { hidden: !hasPreferences });
  const close = drawn(t.close, CROSS, { class: "plain close" });
  const head = h("div", { part: "head" }, h("h2", { id: "title", part: "title" }, t.title), readAll, archiveAll, gear, close);
  const tablist = h("div", { part: "tabs", role: "tablist", "aria-label": t.title, hidden: tabs.length < 2 }, ...tabs.map(({ name, label }) =>
    h("button", { part: "tab", type: "button", role: "tab", "data-view": name, "aria-controls": "scroll" }, label, h("span", { class: "count" }))));
  const note = h("div", { part: "note", role: "status", hidden: true });
  const allow = button("allow", t.notify, { hidden: true });
  const ghosts = h("div", { "aria-hidden": "true" }, ...[0, 1, 2].map(() => h("div", { class: "ghost" }, h("i"), h("i"), h("i"))));
  const emptyTitle = h("strong");
  const empty = h("div", { part: "empty", hidden: true }, icon(36, ...BELL), emptyTitle, t.hint);
  const more = button("more", "");
  const list = h("div", { role: "feed", "aria-labelledby": "title" });
  const scroll = h("div", { part: "list", id: "scroll", role: tabs.length > 1 ? "tabpanel" : undefined, "aria-labelledby": "title" }, list, ghosts, empty, more);
  const bulkCount = h("span");
  const bulkRead = button("quiet", t.markRead);
  const bulkArchive = button("quiet", t.archive);
  const bulkClear = drawn(t.clear, CROSS);
  const bulk = h("div", { part: "bulk", role: "group", "aria-label": t.select, hidden: true }, bulkCount, bulkRead, bulkArchive, bulkClear);
  const main = h("div", { class: "main" }, head, tablist, note, allow, bulk, scroll);
  const back = drawn(t.back, CHEVRON, { class: "plain back" });
  const pane = h("div", { class: "list" });
  const settings = h("div", { part: "preferences", class: "main", role: "group", "aria-labelledby": "settings", hidden: true }, h("div", { class: "head" }, back, h("h2", { id: "settings" }, t.preferences)), pane);
  const snackText = h("span");
  const undo = button("quiet", t.undo);
  const snack = h("div", { part: "snack", role: "status", hidden: true }, snackText, undo);
  const panel = h("div", { part: "panel", role: "dialog", "aria-labelledby": "title", tabIndex: -1, hidden: true }, main, settings, snack);
  const toasts = h("div", { part: "toasts" });
  return {
    readAll, archiveAll, gear, close, tabs: tablist, note, allow, ghosts, empty, emptyTitle, more, list, scroll,
    bulk, bulkCount, bulkRead, bulkArchive, bulkClear, main, back, pane, settings, snack, snackText, undo, panel, toasts,
  };
}
