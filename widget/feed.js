// One user's feed without a face: what the server last told, with the reader's own unanswered marks laid over it.

import { Cache } from "./cache.js";
import { lineOf } from "./line.js";
import { matches } from "./match.js";

/** @typedef {import("./line.js").Line} Line */
/** @typedef {import("./match.js").Filter} Filter */
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
 * @property {string} __cursor
 * @property {string} inserted_at
 * @property {string|null} seen_at
 * @property {string|null} read_at
 * @property {string|null} interacted_at
 * @property {string|null} archived_at
 * @property {Block[]} blocks
 * @property {any[]} [actors]
 * @property {string|null} [tenant]
 * @property {{key: string, categories?: string[]}} [source]
 * @property {Record<string, any>|null} [data]
 *
 * @typedef {"idle"|"connecting"|"syncing"|"live"|"offline"|"refused"|"stopped"} FeedStatus
 *
 * @typedef {{ok: boolean, reason: string}} Outcome
 *
 * @typedef {object} View One list of the feed.
 * @property {FeedItem[]} items Newest first, without holes, the reader's own marks applied.
 * @property {Counts} counts Of all that belong to it, loaded or not.
 * @property {boolean} hasMore Whether the server holds older items than these.
 * @property {boolean} isLoaded Whether its first page has come.
 * @property {boolean} hasFailed Whether the server has refused the page that was asked for last.
 * @property {boolean} isLoading
 *
 * @typedef {object} FeedOptions
 * @property {string} host Address of the server.
 * @property {string} publicKey
 * @property {string} channel Id of the in-app channel.
 * @property {string} user
 * @property {string} [token] The user's token.
 * @property {() => Promise<string>|string} [refreshToken] Asked for a new token before the old one ends.
 * @property {number} [pageSize] Items on a page, 50 at most.
 * @property {Filter} [filters] What the feed consists of; what is archived is left out, unless this says otherwise.
 * @property {Record<string, Filter>} [views] More lists, by name, each of what its own options select; 8 at most.
 * @property {boolean} [share] Whether the tabs of a browser share one socket; they do, unless this is false.
 * @property {boolean} [keep] Whether a copy is kept in this browser, to be shown before the server answers; it is, unless this is false.
 *
 * @typedef {object} Mark A mark the server has not yet shown us in a version of the feed.
 * @property {string} id
 * @property {MarkAs} as
 * @property {Record<string, any>} wire Whom it concerns, as the server is told.
 * @property {string[]|null} ids Those of the items that we knew; null: all that match the filter
 * @property {Filter} filter
 * @property {string} view The view all of which is marked
 * @property {string} at
 * @property {string|null} stamp What the server has written, once it has
 * @property {number|null} version the version that carries it, once the server has said so
 * @property {number} tries
 * @property {boolean} isSent
 * @property {boolean} isTakenBack
 * @property {(outcome: Outcome) => void} settle
 *
 * @typedef {object} Shelf What is known of a view.
 * @property {Filter} filter
 * @property {Counts} counts
 * @property {string|null|undefined} after Where its next page begins; null: there is none; undefined: none has come
 * @property {string} floor The time of the oldest item of its pages
 * @property {boolean} isLoading
 * @property {boolean} hasFailed Whether the server has refused its last page
 */

/** The most ids in one mark: a slow network is to bring some of them soon. */
const MARK_IDS = 50;
const MARK_TRIES = 3;
/** A feed may change faster than its pages are read. */
const PAGE_TRIES = 3;
/** A mark that waited this long for a connection is not what the reader wants any more. */
const MARK_LIFE_MS = 7 * 86_400_000;
/** How long a version we have heard of may stay away before we ask for it. */
const CATCH_UP_MS = 1_500;
const CATCH_UP_CEILING_MS = 30_000;
const KEEP_MS = 1_000;
/** The name of the view that the feed itself is. */
export const ALL = "all";

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

/** @type {Partial<Record<MarkAs, MarkAs>>} */
const OPPOSITES = { seen: "unseen", unseen: "seen", read: "unread", unread: "read", archived: "unarchived", unarchived: "archived" };
/** What an "all" mark narrows to: items that bear it already are left alone, or every stamp were new (F-STA-16). @type {Record<string, Filter>} */
const UNMARKED = { seen: { status: "unseen" }, unseen: { status: "seen" }, read: { status: "unread" }, unread: { status: "read" } };

const NONE = Object.freeze({ total_count: 0, unread_count: 0, unseen_count: 0 });
const COUNTED = /** @type {(keyof Counts)[]} */ (Object.keys(NONE));

/**
 * State in, events out. Everything a bell shows can be read from its properties.
 *
 * Events: `change` (anything; at most one per turn of the event loop), `item` (detail: FeedItem that is new at the top),
 * `refused` (detail: {as, reason, code}: a mark was rolled back).
 */
export class Feed extends EventTarget {
  /** @type {FeedStatus} */ status = "idle";
  /** The version of the feed that is shown; null before the first answer. @type {number|null} */ version = null;
  /** Whether what is shown is the copy of an earlier visit. */ isKept = false;
  /** @type {Line} */ line;

  /** @type {FeedOptions} */ #options;
  /** What the server said, by id. @type {Map<string, FeedItem>} */ #truth = new Map();
  /** The same, newest first. @type {FeedItem[]} */ #order = [];
  /** @type {Map<string, Shelf>} */ #shelves = new Map();
  /** @type {Map<string, View>|null} */ #shown = null;
  /** @type {Mark[]} */ #marks = [];
  /** The last mark that can be taken back. @type {{as: MarkAs, marks: Mark[], ids: string[]}|null} */ #last = null;
  /** The highest version heard of, from anyone. */ #known = 0;
  #isFetching = false;
  #isSynced = false;
  #isTold = false;
  #catchUps = 0;
  #nextMark = 0;
  /** Counts beginnings and ends. */ #turn = 0;
  /** @type {any} */ #catchUpTimer;
  /** @type {any} */ #keepTimer;
  /** @type {Cache|null} */ #cache = null;

  /** @param {FeedOptions} options @param {Line} [line] what it speaks through; one of its own by default */
  constructor(options, line) {
    super();
    for (const name of /** @type {const} */ (["host", "publicKey", "channel", "user"])) if (!options[name]) throw new TypeError(`A feed needs ${name}.`);
    const { host, channel, user, share, token, refreshToken, publicKey } = options;
    this.#options = { pageSize: 50, ...options, filters: { archived: "exclude", ...options.filters } };
    for (const [name, filter] of Object.entries({ [ALL]: {}, ...options.views })) this.#shelves.set(name, empty({ ...this.#options.filters, ...filter }));
    const socket = { host, apiKey: publicKey, userToken: token, refreshToken, share };
    this.line = line ?? lineOf(socket, `feeds:${channel}:${user}`, JSON.stringify([this.#options.pageSize, this.#joinPayload()]));
  }

  /** Why the feed is refused or stopped, for a person to read. */
  get problem() {
    return this.line.problem;
  }

  /** The items of the feed. */
  get items() {
    return this.view().items;
  }

  /** The counts of the feed. */
  get counts() {
    return this.view().counts;
  }

  /** How many items it holds, shown or not. */
  get size() {
    return this.#order.length;
  }

  /** The names of its views. */
  get views() {
    return [...this.#shelves.keys()];
  }

  /** What undoing would take back; null if nothing. @returns {{as: MarkAs, count: number}|null} */
  get undoable() {
    return this.#last && { as: this.#last.as, count: this.#last.ids.length };
  }

  /** One of its lists: the same object for as long as nothing changes. @param {string} [name] @returns {View} */
  view(name = ALL) {
    this.#shown ??= this.#show();
    const view = this.#shown.get(name);
    if (!view) throw new Error(`The feed has no view called ${name}.`);
    return view;
  }

  /** Begins. What a copy holds is shown as soon as it is read; whoever waits for this waits for that. */
  async start() {
    this.line.addEventListener("state", this.#lineChanged);
    this.line.addEventListener("message", this.#told);
    const { host, publicKey, channel, user, keep } = this.#options;
    const turn = ++this.#turn;
    const cache = keep === false ? null : await Cache.open([host, publicKey, channel].join(" "), user, JSON.stringify(this.#joinPayload()));
    const kept = await cache?.read();
    // It may have been stopped meanwhile, and even begun again.
    if (turn !== this.#turn) return cache?.close();
    this.#cache = cache;
    if (kept) this.#takeKept(kept);
    for (const mark of this.#marks) cache?.keepMark(mark);
    this.line.open(() => ({ bellwire: { ...this.#joinPayload(), since: this.version, page_size: this.#options.pageSize } }));
    this.#refreshStatus();
  }

  /** Takes another token of the same user, without beginning anew. @param {string|undefined} token */
  renew(token) {
    this.line.renew(token);
  }

  /** Ends; what is shown stays. */
  stop() {
    this.#turn++;
    this.line.removeEventListener("state", this.#lineChanged);
    this.line.removeEventListener("message", this.#told);
    clearTimeout(this.#catchUpTimer);
    clearTimeout(this.#keepTimer);
    this.#keepTimer = undefined;
    this.line.close();
    this.#cache?.close();
    this.#cache = null;
    for (const mark of this.#marks.splice(0)) mark.settle({ ok: false, reason: "The feed was stopped." });
    this.#refreshStatus();
    this.#changed();
  }

  /** Removes the copies that this browser keeps of any feed: for when somebody signs out. */
  static forget() {
    return Cache.forget();
  }

  /**
   * Marks items at once and tells the server; undone if it refuses. Kept while offline, also if the page is closed.
   * @param {MarkAs} as @param {string[]} ids @param {Record<string, any>} [metadata] with `interacted` only
   * @returns {Promise<Outcome>}
   */
  mark(as, ids, metadata) {
    const changed = this.#changedBy(as, ids);
    const marks = this.#marksOf(as, ids, metadata);
    if (as !== "seen") this.#remember(as, marks, changed);
    return this.#beginAll(marks);
  }

  /**
   * Marks everything of a view up to the newest item shown: what arrives in the same moment stays as it is.
   * @param {MarkAs} as @param {string} [name] the view
   * @returns {Promise<Outcome>}
   */
  async markAll(as, name = ALL) {
    const { items } = this.view(name);
    const newest = items[0]?.inserted_at;
    if (!newest) return { ok: true, reason: "" };
    const filter = { .../** @type {Shelf} */ (this.#shelves.get(name)).filter, ...UNMARKED[as], "inserted_at.lte": newest };
    const changed = this.#changedBy(as, items.map(({ id }) => id));
    const mark = this.#mark({ as, filter, view: name, wire: { all: true, filter } });
    if (as !== "seen") this.#remember(as, [mark], changed);
    return (await this.#begin([mark]))[0];
  }

  /** Takes back the last mark, of whatever it covered. @returns {Promise<Outcome>} */
  async undo() {
    const last = this.#last;
    const as = last && OPPOSITES[last.as];
    if (!last || !as) return { ok: false, reason: "There is nothing to take back." };
    this.#last = null;
    const [first] = last.marks;
    // What was never sent need not be taken back.
    const unsent = last.marks.filter((mark) => mark.tries === 0);
    for (const mark of unsent) this.#drop(mark);
    if (unsent.length === last.marks.length) return { ok: true, reason: "" };
    for (const mark of last.marks) mark.isTakenBack = true;
    if (first.ids) return this.#beginAll(this.#marksOf(as, last.ids));
    const filter = { ...first.filter, status: "all", archived: "include" };
    const mark = this.#mark({ as, ids: last.ids, wire: {}, isSent: true });
    const outcome = this.#begin([mark], false);
    // Which items it was, the server knows by the instant that it wrote on them: until that has come, nothing is sent.
    await this.#settled(first);
    if (!first.stamp) this.#drop(mark);
    mark.wire = { all: true, filter, marked_at: first.stamp };
    mark.isSent = false;
    if (first.stamp) void this.#send(mark);
    return (await outcome)[0];
  }

  /** Reads the next page of a view; its first one, if none has come. Resolves to whether it came. @param {string} [name] @returns {Promise<boolean>} */
  loadMore(name = ALL) {
    return this.#load(name, PAGE_TRIES);
  }

  /** @param {string} name @param {number} tries @returns {Promise<boolean>} */
  async #load(name, tries) {
    const shelf = this.#shelves.get(name);
    if (!shelf || shelf.after === null || shelf.isLoading) return false;
    const { after } = shelf;
    [shelf.isLoading, shelf.hasFailed] = [true, false];
    this.#changed();
    const view = name === ALL ? {} : { view: name };
    const reply = await this.line.push("feed.fetch", { ...view, ...(after && { after }), page_size: this.#options.pageSize });
    [shelf.isLoading, shelf.hasFailed] = [false, reply.status === "error"];
    // A snapshot in between has started the list anew; then this page belongs to nothing.
    const isUsable = reply.status === "ok" && shelf.after === after;
    // What has changed since it was read would come back by it as it was.
    if (isUsable && tries > 1 && reply.response.version < (this.version ?? 0)) return this.#load(name, tries - 1);
    if (isUsable) this.#addPage(shelf, reply.response);
    this.#changed();
    return isUsable;
  }

  /** Begins again with the newest page: older items come when they are asked for. */
  async trim() {
    const reply = await this.line.push("feed.fetch", { since: null });
    if (reply.status === "ok" && reply.response.version >= (this.version ?? 0)) this.#takeSnapshot(reply.response, true);
  }

  #joinPayload() {
    const { filters, views } = this.#options;
    const named = views && Object.fromEntries(Object.entries(views).map(([name, filter]) => [name, { ...filters, ...filter }]));
    return { ...filters, mode: "compact", ...(named && { views: named }) };
  }

  #lineChanged = () => {
    const { state, answer, isRelayed } = this.line;
    if (state !== "joined") {
      this.#isSynced = false;
      return this.#refreshStatus();
    }
    // The tab that leads may have joined long ago.
    this.#isSynced = !isRelayed && answer.version === this.version;
    this.#hear(answer.version);
    this.#refreshStatus();
    for (const mark of this.#marks) if (mark.version === null) void this.#send(mark);
    for (const [name, shelf] of this.#shelves) {
      if (name !== ALL) shelf.isLoading = false;
      shelf.hasFailed = false;
    }
    if (this.#isSynced) return;
    // What a join brings goes to the tab that joined.
    if (isRelayed) void this.#catchUp();
    else this.#planCatchUp();
  };

  /** @param {Event} event */
  #told = (event) => {
    const { detail } = /** @type {CustomEvent} */ (event);
    if (detail.event === "feed.snapshot") this.#takeSnapshot(detail.payload);
    if (detail.event === "feed.delta") this.#takeDelta(detail.payload);
  };

  /** @param {any} snapshot @param {boolean} [isWanted] */
  #takeSnapshot({ version, counts, views, entries, page_info }, isWanted = false) {
    // What another tab's join has brought is no news to this one.
    if (!isWanted && this.line.isRelayed && this.#isSynced && version === this.version) return;
    this.#order = [];
    this.#truth.clear();
    for (const item of entries) this.#put(item);
    for (const shelf of this.#shelves.values()) shelf.after = undefined;
    turn(/** @type {Shelf} */ (this.#shelves.get(ALL)), entries, page_info);
    // A server restored from an older copy starts again from a lower version.
    this.#known = version;
    this.#reach(version, counts, views);
  }

  /** @param {any} delta */
  #takeDelta({ since, version, counts, views, items, removed }) {
    this.#hear(version);
    if (this.version === null || since > this.version) return void this.#catchUp();
    if (version < this.version) return;
    // What is caught up with has not just come.
    const isLive = this.#isSynced;
    const news = [...items].sort((a, b) => newestFirst(b, a)).filter((/** @type {FeedItem} */ item) => this.#place(item));
    for (const id of removed ?? []) this.#remove(id);
    this.#reach(version, counts, views);
    if (isLive) for (const item of news) this.dispatchEvent(new CustomEvent("item", { detail: item }));
  }

  /** Stores an item; says whether it is new at the top of the feed, or has come there with other words. @param {FeedItem} item */
  #place(item) {
    const known = this.#truth.get(item.id);
    // Older than the last page of every view: it will come with its own page, and here it would leave a hole above it.
    if (!known && ![...this.#shelves.values()].some((shelf) => reaches(shelf, item) && matches(shelf.filter, item))) return false;
    const [top] = this.#order;
    this.#put(item, true);
    const isFresh = !known || newestFirst(item, known) < 0;
    return isFresh && !item.read_at && !item.archived_at && (!top || newestFirst(item, top) < 0);
  }

  /** @param {FeedItem} item @param {boolean} [isNews] whether it stands above others of its instant */
  #put(item, isNews = false) {
    const known = this.#truth.get(item.id);
    this.#truth.set(item.id, item);
    if (known?.inserted_at === item.inserted_at) {
      this.#order[this.#at(known)] = item;
      return;
    }
    if (known) this.#order.splice(this.#at(known), 1);
    this.#order.splice(this.#bound(item, isNews ? 0 : 1), 0, item);
  }

  /** @param {string} id */
  #remove(id) {
    const known = this.#truth.get(id);
    if (known) this.#order.splice(this.#at(known), 1);
    this.#truth.delete(id);
  }

  /** Where a known item stands. @param {FeedItem} item */
  #at(item) {
    return this.#order.indexOf(item, this.#bound(item, 0));
  }

  /** How many are newer than an item, or `equals` of its instant. @param {FeedItem} item @param {0|1} equals */
  #bound(item, equals) {
    let [low, high] = [0, this.#order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (newestFirst(this.#order[middle], item) < equals) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {Shelf} shelf @param {any} page */
  #addPage(shelf, { entries, page_info, version }) {
    for (const item of entries) this.#put(item);
    turn(shelf, entries, page_info);
    this.#hear(version);
    if (this.#known > (this.version ?? 0)) this.#planCatchUp();
  }

  /** @param {number} version @param {Counts} counts @param {Record<string, Counts>} [views] */
  #reach(version, counts, views = {}) {
    this.version = version;
    this.isKept = false;
    for (const [name, shelf] of this.#shelves) shelf.counts = name === ALL ? counts : views[name] ?? NONE;
    this.#isSynced = true;
    this.#catchUps = 0;
    this.#known = Math.max(this.#known, version);
    this.#settleShown();
    this.#refreshStatus();
    this.#changed();
    this.#keepSoon();
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
    if (this.#isFetching || this.line.state !== "joined") return;
    this.#isFetching = true;
    this.#catchUps++;
    const asked = this.line.answer;
    const reply = await this.line.push("feed.fetch", { since: this.version });
    this.#isFetching = false;
    // After a rejoin in between, the join itself brings the news.
    if (asked !== this.line.answer && !this.line.isRelayed) return;
    if (reply.status === "ok") {
      if (reply.response.entries) this.#takeSnapshot(reply.response);
      else this.#takeDelta(reply.response);
    }
    if (reply.status !== "ok" || (this.version ?? 0) < this.#known) this.#planCatchUp();
  }

  /** Those of the items that the mark would change. @param {MarkAs} as @param {string[]} ids */
  #changedBy(as, ids) {
    if (!EFFECTS[as]) throw new TypeError(`There is no mark called ${as}.`);
    const { items } = this.view();
    const shown = new Map([...this.#shelves.keys()].flatMap((name) => this.view(name).items).concat(items).map((item) => [item.id, item]));
    return ids.filter((id) => {
      const item = shown.get(id);
      const now = item && EFFECTS[as](item, "now");
      return now && Object.entries(now).some(([name, value]) => !value !== !(/** @type {any} */ (item)[name]));
    });
  }

  /** @param {MarkAs} as @param {Mark[]} marks @param {string[]} ids */
  #remember(as, marks, ids) {
    const isAny = ids.length > 0 || marks.some((mark) => !mark.ids);
    if (OPPOSITES[as] && isAny) this.#last = { as, marks, ids };
  }

  /** As many marks as the server takes ids in one. @param {MarkAs} as @param {string[]} ids @param {Record<string, any>} [metadata] */
  #marksOf(as, ids, metadata) {
    /** @type {Mark[]} */ const marks = [];
    for (let from = 0; from < ids.length; from += MARK_IDS) {
      const some = ids.slice(from, from + MARK_IDS);
      marks.push(this.#mark({ as, ids: some, wire: { ids: some, ...(metadata && { metadata }) } }));
    }
    return marks;
  }

  /** @param {Mark[]} marks @returns {Promise<Outcome>} */
  async #beginAll(marks) {
    const all = await this.#begin(marks);
    return all.find((outcome) => !outcome.ok) ?? { ok: true, reason: "" };
  }

  /** @param {Partial<Mark> & {as: MarkAs, wire: Record<string, any>}} wish @returns {Mark} */
  #mark(wish) {
    const at = new Date().toISOString();
    const id = `${Date.now().toString(36)}${Math.random().toString(36).slice(2)}${this.#nextMark++}`;
    return { id, ids: null, filter: {}, view: "", at, stamp: null, version: null, tries: 0, isSent: false, isTakenBack: false, settle() {}, ...wish };
  }

  /** @param {Mark[]} marks @param {boolean} [isReady] @returns {Promise<Outcome[]>} */
  #begin(marks, isReady = true) {
    const outcomes = marks.map((mark) => new Promise((/** @type {(outcome: Outcome) => void} */ settle) => (mark.settle = settle)));
    this.#marks.push(...marks);
    this.#changed();
    if (isReady) for (const mark of marks) void this.#send(mark);
    return Promise.all(outcomes);
  }

  /** Waits until the server has answered. @param {Mark} mark */
  #settled(mark) {
    if (mark.version !== null || !this.#marks.includes(mark)) return Promise.resolve();
    return new Promise((resolve) => {
      const { settle } = mark;
      mark.settle = (outcome) => (settle(outcome), resolve(undefined));
    });
  }

  /** @param {Mark} mark @returns {Promise<void>} */
  async #send(mark) {
    if (mark.isSent) return;
    // It outlives its page until the server has answered.
    this.#cache?.keepMark(mark);
    if (this.line.state !== "joined") return;
    mark.isSent = true;
    mark.tries++;
    const join = this.line.answer;
    const reply = await this.line.push("feed.mark", { as: mark.as, ...mark.wire });
    mark.isSent = false;
    if (reply.status === "ok") this.#accepted(mark, reply.response);
    if (reply.status === "error") this.#rollBack(mark, reply.response);
    if (reply.status === "timeout") {
      // Said again it would come after what has taken it back.
      if (mark.isTakenBack) return this.#drop(mark);
      if (mark.tries < MARK_TRIES) return this.#send(mark);
      this.#rollBack(mark, { reason: "The server did not answer.", code: "timeout" });
    }
    if (reply.status !== "lost") return;
    // It stays in the list and is sent again after the next join: a mark said twice is one mark.
    // If that join came before this answer did, nobody else will send it.
    if (join !== this.line.answer) void this.#send(mark);
  }

  /** @param {Mark} mark @param {Record<string, any>} answer */
  #accepted(mark, { version, at }) {
    mark.version = version;
    mark.stamp = at ?? null;
    this.#cache?.dropMark(mark.id);
    mark.settle({ ok: true, reason: "" });
    this.#hear(version);
    this.#settleShown();
    this.#changed();
    if (this.#marks.includes(mark)) this.#planCatchUp();
  }

  /** @param {Mark} mark @param {Record<string, any>} refusal */
  #rollBack(mark, { reason = "The server refused the mark.", code = "" }) {
    if (this.#last?.marks.includes(mark)) this.#last = null;
    this.#drop(mark, { ok: false, reason });
    this.dispatchEvent(new CustomEvent("refused", { detail: { as: mark.as, reason, code } }));
  }

  /** @param {Mark} mark @param {Outcome} [outcome] */
  #drop(mark, outcome = { ok: true, reason: "" }) {
    this.#marks = this.#marks.filter((other) => other !== mark);
    this.#cache?.dropMark(mark.id);
    this.#changed();
    mark.settle(outcome);
  }

  /** Drops the marks that the server's own state shows by now. */
  #settleShown() {
    const { version } = this;
    this.#marks = this.#marks.filter((mark) => mark.version === null || version === null || mark.version > version);
  }

  /** Computes what is shown from what is true and what is pending. @returns {Map<string, View>} */
  #show() {
    const now = new Map(this.#order.map((item) => [item, this.#marks.reduce((shown, mark) => (covers(mark, shown) ? { ...shown, ...EFFECTS[mark.as](shown, mark.at) } : shown), item)]));
    const changed = [...now].filter(([item, shown]) => item !== shown);
    return new Map([...this.#shelves].map(([name, shelf]) => {
      const { filter, after, isLoading, hasFailed } = shelf;
      const base = after === undefined ? /** @type {Shelf} */ (this.#shelves.get(ALL)) : shelf;
      const items = this.#order.filter((item) => reaches(base, item)).map((item) => /** @type {FeedItem} */ (now.get(item))).filter((item) => matches(filter, item));
      const counts = { ...shelf.counts };
      const wide = { ...filter, status: "all" };
      for (const [item, shown] of changed) {
        if (matches(wide, item)) addTo(counts, item, -1);
        if (matches(wide, shown)) addTo(counts, shown, 1);
      }
      this.#countEverything(name, wide, items, counts);
      return [name, { items, counts, hasMore: after !== null, isLoaded: after !== undefined, isLoading, hasFailed }];
    }));
  }

  /** A mark on all of a view reaches items that were never loaded: then only what we show can still count. @param {string} name @param {Filter} wide @param {FeedItem[]} items @param {Counts} counts */
  #countEverything(name, wide, items, counts) {
    for (const { as, ids, view } of this.#marks) {
      if (ids || !(view === name || view === ALL || sameBut(wide, this.#shelves.get(view)?.filter))) continue;
      const loaded = items.filter((item) => matches(wide, item));
      if (as === "read" || as === "archived") counts.unread_count = Math.min(counts.unread_count, loaded.filter((item) => !item.read_at).length);
      if (as === "seen" || as === "archived") counts.unseen_count = Math.min(counts.unseen_count, loaded.filter((item) => !item.seen_at).length);
      if (as === "archived" && wide.archived === "exclude") counts.total_count = loaded.length;
    }
    for (const field of COUNTED) counts[field] = Math.max(0, counts[field]);
  }

  #refreshStatus() {
    const { state } = this.line;
    const before = this.status;
    this.status = state === "joined" ? (this.#isSynced ? "live" : "syncing") : state === "joining" ? "syncing" : state;
    if (before !== this.status) this.#changed();
  }

  /** Many changes in one turn are told once. */
  #changed() {
    this.#shown = null;
    if (this.#isTold) return;
    this.#isTold = true;
    queueMicrotask(() => {
      this.#isTold = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  #keepSoon() {
    if (!this.#cache) return;
    this.#keepTimer ??= setTimeout(() => {
      this.#keepTimer = undefined;
      const shelf = /** @type {Shelf} */ (this.#shelves.get(ALL));
      const kept = this.#order.filter((item) => reaches(shelf, item) && matches(shelf.filter, item)).slice(0, this.#options.pageSize);
      const counts = Object.fromEntries([...this.#shelves].map(([name, { counts }]) => [name, counts]));
      const after = kept.length < (this.#options.pageSize ?? 0) ? shelf.after : kept.at(-1)?.__cursor;
      this.#cache?.write({ version: this.version, counts, after, items: kept });
    }, KEEP_MS);
  }

  /** @param {any} kept */
  #takeKept({ feed, marks }) {
    if (feed && this.version === null) {
      this.version = feed.version;
      this.isKept = true;
      for (const item of feed.items) this.#put(item);
      for (const [name, shelf] of this.#shelves) shelf.counts = feed.counts[name] ?? NONE;
      Object.assign(/** @type {Shelf} */ (this.#shelves.get(ALL)), { after: feed.after ?? null, floor: feed.items.at(-1)?.inserted_at ?? "" });
    }
    for (const mark of marks) {
      const isStale = Date.now() - Date.parse(mark.at) > MARK_LIFE_MS;
      if (isStale || this.#marks.some(({ id }) => id === mark.id)) this.#cache?.dropMark(mark.id);
      else this.#marks.push(this.#mark(mark));
    }
    this.#changed();
  }
}

/** @param {Filter} filter @returns {Shelf} */
function empty(filter) {
  return { filter, counts: NONE, after: undefined, floor: "", isLoading: false, hasFailed: false };
}

/** A page of a view has come. @param {Shelf} shelf @param {FeedItem[]} entries @param {any} page_info */
function turn(shelf, entries, page_info) {
  const times = entries.map((item) => item.inserted_at);
  // What commits later may have begun earlier: the last of a page need not be the oldest.
  shelf.floor = [...(shelf.after ? [shelf.floor] : []), ...times].sort()[0] ?? "";
  shelf.after = page_info?.after ?? null;
}

/** Whether an item stands where the pages of a view have come already. @param {Shelf} shelf @param {FeedItem} item */
function reaches({ after, floor }, item) {
  return after === null || (after !== undefined && item.inserted_at >= floor);
}

/** Items of one instant stay in the server's order. @param {FeedItem} a @param {FeedItem} b */
function newestFirst({ inserted_at: a }, { inserted_at: b }) {
  return a > b ? -1 : a < b ? 1 : 0;
}

/** Whether both select the same, but for the status. @param {Filter} wide @param {Filter} [other] */
function sameBut(wide, other) {
  return other !== undefined && JSON.stringify(Object.entries({ ...other, status: "all" }).sort()) === JSON.stringify(Object.entries(wide).sort());
}

/** @param {Mark} mark @param {FeedItem} item */
function covers({ ids, filter }, item) {
  return ids ? ids.includes(item.id) : matches(filter, item);
}

/** @param {Counts} counts @param {FeedItem} item @param {number} by */
function addTo(counts, item, by) {
  counts.total_count += by;
  if (!item.read_at) counts.unread_count += by;
  if (!item.seen_at) counts.unseen_count += by;
}
