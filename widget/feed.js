// One user's feed: what the server last told, with the reader's own unanswered marks laid over it.

import { Channel } from "./channel.js";

/** @typedef {import("./socket.js").Socket} Socket */
/** @typedef {import("./socket.js").Reply} Reply */
/**
 * @typedef {"seen"|"unseen"|"read"|"unread"|"archived"|"unarchived"|"interacted"} MarkAs
 *
 * @typedef {{total_count: number, unread_count: number, unseen_count: number}} Counts
 *
 * @typedef {object} Block
 * @property {"markdown"|"text"|"button_set"} type
 * @property {string} name
 * @property {string} [rendered]
 * @property {{name: string, label: string, action: string}[]} [buttons]
 *
 * @typedef {object} FeedItem
 * @property {string} id
 * @property {string} inserted_at
 * @property {string|null} seen_at
 * @property {string|null} read_at
 * @property {string|null} interacted_at
 * @property {string|null} archived_at
 * @property {Block[]} blocks
 * @property {any[]} [actors]
 * @property {{key: string}} [source]
 * @property {Record<string, any>|null} [data]
 *
 * @typedef {"idle"|"connecting"|"syncing"|"live"|"offline"|"refused"|"stopped"} FeedStatus
 *
 * @typedef {{ok: boolean, reason: string}} Outcome
 *
 * @typedef {object} FeedOptions
 * @property {string} channel Id of the in-app channel.
 * @property {string} user
 * @property {number} [pageSize]
 * @property {Record<string, any>} [filters] The feed options of the REST API (`archived`, `status`, `tenant`, ...).
 *
 * @typedef {object} Mark A mark the server has not yet shown us in a version of the feed.
 * @property {MarkAs} as
 * @property {Set<string>|null} ids null: all that match the filter
 * @property {Record<string, any>} filter
 * @property {boolean} isEverything whether an "all" covers the whole feed as it was known
 * @property {string} newest `inserted_at` of the newest item known when it was made
 * @property {Record<string, any>|undefined} metadata
 * @property {string} at
 * @property {number|null} version the version that carries it, once the server has said so
 * @property {number} tries
 * @property {boolean} isSent
 * @property {(outcome: Outcome) => void} settle
 */

/** The server takes at most this many ids in one mark. */
const MARK_IDS = 50;
const MARK_TRIES = 3;
/** How long a version we have heard of may stay away before we ask for it. */
const CATCH_UP_MS = 1_500;
const CATCH_UP_CEILING_MS = 30_000;

/** @type {Record<MarkAs, (item: FeedItem, at: string) => Partial<FeedItem>>} */
const EFFECTS = {
  seen: (_, at) => ({ seen_at: at }),
  unseen: () => ({ seen_at: null }),
  read: (_, at) => ({ read_at: at }),
  unread: () => ({ read_at: null }),
  archived: (_, at) => ({ archived_at: at }),
  unarchived: () => ({ archived_at: null }),
  interacted: (item, at) => ({ interacted_at: at, read_at: item.read_at ?? at }),
};

/** The status of the items that a mark changes. @type {Partial<Record<MarkAs, string>>} */
const OPPOSITES = { seen: "unseen", unseen: "seen", read: "unread", unread: "read" };

/**
 * A headless feed: state in, events out. Everything a bell shows can be read from its properties.
 *
 * Events: `change` (anything), `item` (detail: FeedItem that is new since the last look),
 * `refused` (detail: {as, reason, code}: a mark was rolled back).
 */
export class Feed extends EventTarget {
  /** @type {FeedStatus} */ status = "idle";
  /** Why the feed is refused or stopped, for a person to read. */ problem = "";
  /** The version of the feed that `items` shows; null before the first answer. @type {number|null} */ version = null;
  /** Newest first, the reader's own marks applied. @type {FeedItem[]} */ items = [];
  /** @type {Counts} */ counts = { total_count: 0, unread_count: 0, unseen_count: 0 };
  isLoadingMore = false;

  /** @type {Socket} */ #socket;
  /** @type {Channel} */ #channel;
  /** @type {FeedOptions} */ #options;
  /** What the server said, by id. @type {Map<string, FeedItem>} */ #truth = new Map();
  /** @type {Counts} */ #truthCounts = this.counts;
  /** @type {string|null} */ #after = null;
  /** @type {Mark[]} */ #marks = [];
  /** The highest version heard of, from anyone. */ #known = 0;
  #isFetching = false;
  #isSynced = false;
  #hasBeenOpen = false;
  #catchUps = 0;
  /** @type {any} */ #catchUpTimer;
  #onSocketState = () => this.#refreshStatus();

  /** @param {Socket} socket @param {FeedOptions} options */
  constructor(socket, options) {
    super();
    this.#socket = socket;
    this.#options = { pageSize: 50, ...options, filters: { archived: "exclude", ...options.filters } };
    this.#channel = new Channel(socket, `feeds:${options.channel}:${options.user}`, () => this.#joinPayload());
    this.#channel.addEventListener("state", () => this.#channelChanged());
    this.#channel.addEventListener("message", (event) => {
      const { detail } = /** @type {CustomEvent} */ (event);
      this.#told(detail.event, detail.payload);
    });
  }

  /** Whether the server holds older items than these. */
  get hasMore() {
    return this.#after !== null;
  }

  start() {
    this.#socket.addEventListener("state", this.#onSocketState);
    this.#channel.join();
    this.#refreshStatus();
  }

  stop() {
    this.#socket.removeEventListener("state", this.#onSocketState);
    clearTimeout(this.#catchUpTimer);
    this.#channel.leave();
    for (const mark of this.#marks.splice(0)) mark.settle({ ok: false, reason: "The feed was stopped." });
    this.#show();
  }

  /**
   * Marks items at once and tells the server; undone if it refuses. Kept while offline.
   * @param {MarkAs} as @param {string[]} ids @param {Record<string, any>} [metadata] with `interacted` only
   * @returns {Promise<Outcome>}
   */
  async mark(as, ids, metadata) {
    const outcomes = [];
    for (let from = 0; from < ids.length; from += MARK_IDS) {
      outcomes.push(this.#begin({ as, ids: new Set(ids.slice(from, from + MARK_IDS)), metadata }));
    }
    const all = await Promise.all(outcomes);
    return all.find((outcome) => !outcome.ok) ?? { ok: true, reason: "" };
  }

  /**
   * Marks everything up to the newest item shown: what arrives in the same moment stays as it is.
   * @param {MarkAs} as @param {Record<string, any>} [filter] narrows further
   * @returns {Promise<Outcome>}
   */
  async markAll(as, filter) {
    const newest = this.items[0]?.inserted_at;
    if (!newest) return { ok: true, reason: "" };
    const whom = { ...this.#unmarked(as), ...filter, "inserted_at.lte": newest };
    return this.#begin({ as, ids: null, newest, isEverything: !filter, filter: whom });
  }

  /** Items that bear the mark already are left alone: marking them again would refresh every stamp (F-STA-16). @param {MarkAs} as */
  #unmarked(as) {
    const { status } = this.#options.filters ?? {};
    const isOpen = !status || status === "all";
    return isOpen && OPPOSITES[as] ? { status: OPPOSITES[as] } : {};
  }

  /** Reads the next page of older items. Resolves to whether it came. */
  async loadMore() {
    const after = this.#after;
    if (after === null || this.isLoadingMore) return false;
    this.isLoadingMore = true;
    this.#changed();
    const reply = await this.#channel.push("feed.fetch", { after, page_size: this.#options.pageSize });
    this.isLoadingMore = false;
    // A snapshot in between has started the list anew; then this page belongs to nothing.
    const isUsable = reply.status === "ok" && this.#after === after;
    if (isUsable) this.#addPage(reply.response);
    this.#show();
    return isUsable;
  }

  #joinPayload() {
    const { pageSize, filters } = this.#options;
    return { bellwire: { ...filters, since: this.version, page_size: pageSize, mode: "compact" } };
  }

  #channelChanged() {
    if (this.#channel.state !== "joined") {
      this.#isSynced = false;
      return this.#refreshStatus();
    }
    const { version } = this.#channel.answer;
    this.#isSynced = version === this.version;
    this.#hear(version);
    this.#refreshStatus();
    for (const mark of this.#marks) if (mark.version === null) void this.#send(mark);
    if (!this.#isSynced) this.#planCatchUp();
  }

  /** @param {string} event @param {any} payload */
  #told(event, payload) {
    if (event === "feed.snapshot") this.#takeSnapshot(payload);
    if (event === "feed.delta") this.#takeDelta(payload);
  }

  /** @param {any} snapshot */
  #takeSnapshot({ version, counts, entries, page_info }) {
    this.#truth = new Map(entries.map((/** @type {FeedItem} */ item) => [item.id, item]));
    this.#after = page_info?.after ?? null;
    // A server restored from an older copy starts again from a lower version.
    this.#known = version;
    this.#reach(version, counts);
  }

  /** @param {any} delta */
  #takeDelta({ since, version, counts, items, removed }) {
    this.#hear(version);
    if (this.version === null || since > this.version) return void this.#catchUp();
    if (version < this.version) return;
    const news = items.filter((/** @type {FeedItem} */ item) => this.#place(item));
    for (const id of removed ?? []) this.#truth.delete(id);
    this.#reach(version, counts);
    for (const item of news) this.dispatchEvent(new CustomEvent("item", { detail: item }));
  }

  /** Stores an item; says whether it is new at the head of the feed, or has come there with other words. @param {FeedItem} item */
  #place(item) {
    const known = this.#truth.get(item.id);
    const isKnown = known !== undefined;
    const ordered = [...this.#truth.values()].sort(newestFirst);
    // Older than the last page read: it will come with its own page, and here it would leave a hole above it.
    if (!isKnown && this.#after !== null && ordered.length && newestFirst(ordered[ordered.length - 1], item) < 0) return false;
    this.#truth.set(item.id, item);
    const isFresh = !known || newestFirst(item, known) < 0;
    return isFresh && (!ordered.length || newestFirst(item, ordered[0]) < 0);
  }

  /** @param {any} page */
  #addPage({ entries, page_info, version }) {
    const isOlderThanUs = version < (this.version ?? 0);
    for (const item of entries) {
      if (!isOlderThanUs || !this.#truth.has(item.id)) this.#truth.set(item.id, item);
    }
    this.#after = page_info?.after ?? null;
    this.#hear(version);
    if (this.#known > (this.version ?? 0)) this.#planCatchUp();
  }

  /** @param {number} version @param {Counts} counts */
  #reach(version, counts) {
    this.version = version;
    this.#truthCounts = counts;
    this.#isSynced = true;
    this.#catchUps = 0;
    this.#known = Math.max(this.#known, version);
    this.#settleShown();
    this.#refreshStatus();
    this.#show();
  }

  /** @param {number|undefined} version */
  #hear(version) {
    if (typeof version === "number") this.#known = Math.max(this.#known, version);
  }

  /** What was announced usually comes by itself in a moment; ask only if it does not. */
  #planCatchUp() {
    clearTimeout(this.#catchUpTimer);
    const delay = Math.min(CATCH_UP_MS * 2 ** this.#catchUps, CATCH_UP_CEILING_MS);
    this.#catchUpTimer = setTimeout(() => {
      const isBehind = this.version === null || this.version < this.#known;
      if (isBehind || !this.#isSynced || this.#marks.some((mark) => mark.version !== null)) void this.#catchUp();
    }, delay);
  }

  async #catchUp() {
    if (this.#isFetching || this.#channel.state !== "joined") return;
    this.#isFetching = true;
    this.#catchUps++;
    const asked = this.#channel.answer;
    const reply = await this.#channel.push("feed.fetch", { since: this.version });
    this.#isFetching = false;
    // After a rejoin in between, the join itself brings the news.
    if (asked !== this.#channel.answer) return;
    if (reply.status === "ok") {
      if (reply.response.reset) this.#takeSnapshot(reply.response);
      else this.#takeDelta(reply.response);
    }
    if (reply.status !== "ok" || (this.version ?? 0) < this.#known) this.#planCatchUp();
  }

  /** @param {Partial<Mark> & {as: MarkAs, ids: Set<string>|null}} wish @returns {Promise<Outcome>} */
  #begin(wish) {
    return new Promise((settle) => {
      const at = new Date().toISOString();
      /** @type {Mark} */
      const mark = {
        filter: {}, isEverything: false, newest: "", metadata: undefined,
        ...wish, at, version: null, tries: 0, isSent: false, settle,
      };
      this.#marks.push(mark);
      this.#show();
      void this.#send(mark);
    });
  }

  /** @param {Mark} mark @returns {Promise<void>} */
  async #send(mark) {
    if (mark.isSent || this.#channel.state !== "joined") return;
    mark.isSent = true;
    mark.tries++;
    const join = this.#channel.answer;
    const { as, ids, filter, metadata } = mark;
    const whom = ids ? { ids: [...ids] } : { all: true, filter: { ...this.#options.filters, ...filter } };
    const reply = await this.#channel.push("feed.mark", { as, ...whom, ...(metadata && { metadata }) });
    mark.isSent = false;
    if (reply.status === "ok") this.#accepted(mark, reply.response.version);
    if (reply.status === "error") this.#rollBack(mark, reply.response);
    if (reply.status === "timeout") {
      if (mark.tries < MARK_TRIES) return this.#send(mark);
      this.#rollBack(mark, { reason: "The server did not answer.", code: "timeout" });
    }
    // `lost` stays in the list and is sent again after the next join: a mark said twice is one mark.
    // If that join came before this answer did, nobody else will send it.
    if (reply.status === "lost" && join !== this.#channel.answer) void this.#send(mark);
  }

  /** @param {Mark} mark @param {number} version */
  #accepted(mark, version) {
    mark.version = version;
    mark.settle({ ok: true, reason: "" });
    this.#hear(version);
    this.#settleShown();
    this.#show();
    if (this.#marks.includes(mark)) this.#planCatchUp();
  }

  /** @param {Mark} mark @param {Record<string, any>} refusal */
  #rollBack(mark, { reason = "The server refused the mark.", code = "" }) {
    this.#marks = this.#marks.filter((other) => other !== mark);
    this.#show();
    this.dispatchEvent(new CustomEvent("refused", { detail: { as: mark.as, reason, code } }));
    mark.settle({ ok: false, reason });
  }

  /** Drops the marks that the server's own state shows by now. */
  #settleShown() {
    const { version } = this;
    this.#marks = this.#marks.filter((mark) => mark.version === null || version === null || mark.version > version);
  }

  /** Computes what is shown from what is true and what is pending. */
  #show() {
    /** @type {FeedItem[]} */ const items = [];
    const counts = { ...this.#truthCounts };
    for (const item of this.#truth.values()) {
      const shown = this.#marks.reduce((now, mark) => (covers(mark, item) ? { ...now, ...EFFECTS[mark.as](now, mark.at) } : now), item);
      const isGone = this.#options.filters?.archived === "exclude" && shown.archived_at !== null;
      const wasGone = this.#options.filters?.archived === "exclude" && item.archived_at !== null;
      addTo(counts, item, wasGone ? 0 : -1);
      addTo(counts, shown, isGone ? 0 : 1);
      if (!isGone) items.push(shown);
    }
    this.items = items.sort(newestFirst);
    this.counts = this.#withEverythingMarked(counts);
    this.#changed();
  }

  /** A mark on everything reaches items that were never loaded: then only what we show can still count. @param {Counts} counts */
  #withEverythingMarked(counts) {
    for (const { as, isEverything } of this.#marks) {
      if (!isEverything) continue;
      if (as === "read" || as === "interacted" || as === "archived") counts.unread_count = this.items.filter((item) => item.read_at === null).length;
      if (as === "seen" || as === "archived") counts.unseen_count = this.items.filter((item) => item.seen_at === null).length;
      if (as === "archived") counts.total_count = this.items.length;
    }
    for (const name of /** @type {(keyof Counts)[]} */ (Object.keys(counts))) counts[name] = Math.max(0, counts[name]);
    return counts;
  }

  #refreshStatus() {
    const before = this.status;
    this.#hasBeenOpen ||= this.#socket.isOpen;
    this.status = this.#statusNow();
    this.problem = this.status === "stopped" ? this.#socket.problem : this.status === "refused" ? this.#channel.answer.reason ?? "" : "";
    if (before !== this.status) this.#changed();
  }

  /** @returns {FeedStatus} */
  #statusNow() {
    const { state } = this.#channel;
    if (state === "closed") return "idle";
    if (this.#socket.state === "stopped") return "stopped";
    if (state === "refused") return "refused";
    if (state === "joined") return this.#isSynced ? "live" : "syncing";
    if (this.#socket.isOpen) return "syncing";
    return this.#hasBeenOpen || this.#socket.state !== "connecting" ? "offline" : "connecting";
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {FeedItem} a @param {FeedItem} b */
function newestFirst(a, b) {
  const byTime = Date.parse(b.inserted_at) - Date.parse(a.inserted_at);
  // Microseconds are beyond Date, but not beyond the text. Items of one instant stay in the server's order.
  return byTime || compare(b.inserted_at, a.inserted_at);
}

/** @param {string} a @param {string} b */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {Mark} mark @param {FeedItem} item */
function covers(mark, item) {
  if (mark.ids) return mark.ids.has(item.id);
  return mark.isEverything && item.inserted_at <= mark.newest;
}

/** @param {Counts} counts @param {FeedItem} item @param {number} by */
function addTo(counts, item, by) {
  counts.total_count += by;
  if (item.read_at === null) counts.unread_count += by;
  if (item.seen_at === null) counts.unseen_count += by;
}
