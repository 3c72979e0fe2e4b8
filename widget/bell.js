// <bellwire-bell>: a bell with a badge. What opens behind it is in bell/, and comes when the page has time for it.

import { h, icon, sheet } from "./dom.js";
import { ALL, Feed } from "./feed.js";
import { directionOf, fill, load, localeOf, messagesOf } from "./locale.js";
import { STYLE } from "./style.js";

export { Feed };

/** @typedef {import("./feed.js").FeedItem} FeedItem */
/** @typedef {import("./locale.js").Messages} Messages */
/** @typedef {import("./bell/panel.js").Panel} Panel */
/** @typedef {{name: string, label?: string, filter?: Record<string, any>}} Tab `filter` has the feed options of the REST API. */
/**
 * What a bell's panel sees of it.
 * @typedef {object} Setting
 * @property {Feed|null} feed
 * @property {Messages} texts
 * @property {string} locale
 * @property {Required<Tab>[]} tabs
 * @property {{host: string, publicKey: string, user: string, tenant: string|null, token: () => Promise<string|null>}} access
 */

/** @typedef {{refreshToken?: () => Promise<string>|string, tabs?: Tab[], messages?: Partial<Messages>}} Given What is no text. */

const GIVEN = /** @type {(keyof Given)[]} */ (["refreshToken", "tabs", "messages"]);
const BELL = ["M6 8a6 6 0 0 1 12 0c0 7 3 9 3 9H3s3-2 3-9", "M10.3 21a1.94 1.94 0 0 0 3.4 0"];
/** What is said to those who hear the page, they hear once in a while, whatever arrives. */
const ANNOUNCE_MS = 1_000;
/** More items than these are let go of while nobody reads the older ones. */
const MOST_KEPT = 500;

/** @type {Record<string, Record<string, any>>} */
const USUAL = { unread: { status: "unread" }, archived: { archived: "only" } };

const sheetOfBell = sheet(STYLE);

/** On a server there are no elements: there it only must not break. @type {typeof HTMLElement} */
const Base = globalThis.HTMLElement ?? class {};

/**
 * Attributes: `host` (the server; the page's own by default), `public-key`, `user`, `token`, `channel`, `tenant`;
 * `lang` (or the page's), `theme` (`light`, `dark`; the page's by default), `inline` (the panel stands open below the bell),
 * `target` (where links open), `tabs` (`all unread archived` by default; empty for none); `toasts`, `sound` (an address, or empty for a
 * chime), `title-badge`, `notifications` (of the browser; shows a button to allow them), `preferences` (shows a button for them);
 * `no-share` (a socket for this tab alone), `no-store` (no copy in this browser).
 *
 * Properties: `refreshToken` (asked for a new user token), `tabs` (a list of `Tab`), `messages` (texts to use instead), `feed`.
 *
 * Events: `item` {item} (has just come; cancelled, it shows no toast), `item-click` {item, link} and `action-click` {item, button} (cancelled,
 * they lead nowhere), `counts` (as the feed's), `refused` {as, reason, code}.
 */
export class BellwireBell extends Base {
  static observedAttributes = ["host", "public-key", "user", "token", "channel", "tenant", "lang", "tabs", "preferences", "inline"];

  /** @type {Feed|null} */ feed = null;

  /** @type {ReturnType<typeof skeleton>} */ #parts = /** @type {any} */ (null);
  /** @type {Messages} */ #texts = messagesOf();
  /** @type {Panel|null} */ #panel = null;
  /** Counts the starts: what was begun for an earlier one is not carried on. */ #turn = 0;
  /** @type {Promise<Panel|null>|null} */ #coming = null;
  /** @type {AbortController|null} */ #alive = null;
  /** @type {any} */ #announcement;
  #news = 0;
  #isOpen = false;
  #isPlanned = false;
  #isTrimming = false;
  /** The counts that the page was told last. @type {string|undefined} */ #told;
  #hasRestartPlanned = false;
  /** @type {Given} */ #given = {};

  constructor() {
    super();
    // A page may set these before this module has defined the element.
    for (const name of GIVEN) {
      if (!Object.hasOwn(this, name)) continue;
      const own = /** @type {any} */ (this);
      const value = own[name];
      delete own[name];
      own[name] = value;
    }
  }

  get refreshToken() {
    return this.#given.refreshToken;
  }

  set refreshToken(refreshToken) {
    this.#give("refreshToken", refreshToken);
  }

  get messages() {
    return this.#given.messages;
  }

  set messages(messages) {
    this.#give("messages", messages);
  }

  /** @returns {Tab[]|undefined} */
  get tabs() {
    return this.#given.tabs;
  }

  /** @param {Tab[]|string|null|undefined} tabs Words are what the attribute takes, too: some frameworks set the property. */
  set tabs(tabs) {
    if (typeof tabs === "string") this.setAttribute("tabs", tabs);
    else this.#give("tabs", tabs);
  }

  connectedCallback() {
    this.#alive = new AbortController();
    const { signal } = this.#alive;
    if (!this.shadowRoot) {
      const root = this.attachShadow({ mode: "open" });
      this.#parts = skeleton();
      root.append(this.#parts.frame);
      root.adoptedStyleSheets = [sheetOfBell()];
      this.#parts.bell.addEventListener("animationend", () => this.#parts.bell.classList.remove("rings"));
      this.#parts.bell.addEventListener("click", () => (this.#isOpen && !this.#isInline ? this.close() : void this.open()));
    }
    document.addEventListener("pointerdown", (event) => {
      if (!this.#isInline && !event.composedPath().includes(this)) this.close();
    }, { signal });
    // A page that nobody sees any more has no frames.
    document.addEventListener("visibilitychange", () => {
      if (this.#isPlanned) this.#planAnew();
    }, { signal });
    this.#start();
  }

  disconnectedCallback() {
    this.#alive?.abort();
    this.#end();
    this.#isOpen = false;
    this.#parts.bell.setAttribute("aria-expanded", "false");
    if (this.hasAttribute("title-badge")) titleBadge(0);
  }

  /** @param {string} name @param {string|null} before @param {string|null} value */
  attributeChangedCallback(name, before, value) {
    if (before === value) return;
    // A page renews its user's token: the same user goes on.
    if (name === "token" && this.feed && !this.#hasRestartPlanned) this.feed.renew(value ?? undefined);
    else this.#restartSoon();
  }

  #restartSoon() {
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

  /** Many pages make these anew whenever they draw: what says the same is no reason to begin anew. @param {keyof Given} name @param {any} value */
  #give(name, value) {
    const before = this.#given[name];
    const isSame = name === "refreshToken" ? !before === !value : JSON.stringify(before) === JSON.stringify(value ?? undefined);
    this.#given = { ...this.#given, [name]: value ?? undefined };
    if (!isSame) this.#restartSoon();
  }

  /** Opens the panel; resolves when it is there. */
  async open() {
    if (!this.isConnected) return;
    this.#isOpen = true;
    this.#parts.bell.setAttribute("aria-expanded", "true");
    const panel = await this.#fetchPanel();
    if (this.#isOpen) panel?.open(!this.#isInline);
  }

  close() {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { bell } = this.#parts;
    bell.setAttribute("aria-expanded", "false");
    if (this.#panel?.close()) bell.focus();
  }

  /** Tells the page first; false if it will handle the matter itself. @param {string} name @param {object} detail */
  offer(name, detail) {
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable: true, bubbles: true, composed: true }));
  }

  get #isInline() {
    return this.hasAttribute("inline");
  }

  get #locale() {
    const named = this.getAttribute("lang") || this.closest("[lang]")?.getAttribute("lang") || navigator.language;
    try {
      return Intl.getCanonicalLocales(named.replaceAll("_", "-"))[0];
    } catch {
      return navigator.language;
    }
  }

  /** @param {string} name */
  #named(name) {
    return this.getAttribute(name) ?? "";
  }

  /** @returns {Required<Tab>[]} */
  get #tabs() {
    const named = (this.getAttribute("tabs") ?? "all unread archived").split(/[\s,]+/).filter(Boolean).map((name) => /** @type {Tab} */ ({ name }));
    return (this.#given.tabs ?? named).map(({ name, label, filter }) => ({
      name, label: label ?? this.#texts[/** @type {keyof Messages} */ (name)] ?? name, filter: filter ?? USUAL[name] ?? {},
    }));
  }

  #start() {
    this.#turn++;
    this.#coming = null;
    this.#parts.frame.dir = directionOf(this.#locale);
    this.#parts.frame.lang = this.#locale;
    const [host, publicKey, user, channel] = [this.#named("host") || location.origin, ...["public-key", "user", "channel"].map((name) => this.#named(name))];
    if (publicKey && user && channel) {
      const tenant = this.getAttribute("tenant");
      const views = this.#tabs.filter(({ name }) => name !== ALL).map(({ name, filter }) => [name, filter]);
      const feed = (this.feed = new Feed({
        host, publicKey, user, channel,
        token: this.getAttribute("token") ?? undefined,
        refreshToken: this.refreshToken && (() => this.refreshToken?.() ?? ""),
        filters: tenant === null ? {} : { tenant },
        views: views.length ? Object.fromEntries(views) : undefined,
        share: !this.hasAttribute("no-share"),
        keep: !this.hasAttribute("no-store"),
      }));
      feed.addEventListener("change", () => this.#plan());
      feed.addEventListener("item", (event) => this.#arrived(/** @type {CustomEvent} */ (event).detail));
      feed.addEventListener("refused", (event) => {
        const { detail } = /** @type {CustomEvent} */ (event);
        this.#panel?.refused(detail);
        this.offer("refused", detail);
      });
      void feed.start();
    } else if (user) console.warn("bellwire-bell: its attributes `public-key` and `channel` are needed, too.");
    this.#draw();
    if (this.#isInline || this.#isOpen) void this.open();
    else (globalThis.requestIdleCallback ?? setTimeout)(() => void this.#fetchPanel());
  }

  #end() {
    this.#turn++;
    this.#panel?.stop();
    this.#panel = this.#coming = null;
    this.feed?.stop();
    this.feed = null;
  }

  /** The panel, made when it is wanted first. */
  #fetchPanel() {
    return (this.#coming ??= this.#makePanel(this.#turn));
  }

  /** @param {number} turn @returns {Promise<Panel|null>} */
  async #makePanel(turn) {
    try {
      const [{ Panel }, texts] = await Promise.all([import("./bell/panel.js"), load(this.#locale, this.messages)]);
      if (turn !== this.#turn || !this.isConnected) return null;
      this.#texts = texts;
      const token = async () => (await this.refreshToken?.()) ?? this.getAttribute("token");
      const access = { host: this.#named("host") || location.origin, publicKey: this.#named("public-key"), user: this.#named("user"), tenant: this.getAttribute("tenant"), token };
      this.#panel = new Panel(this, { feed: this.feed, texts, locale: localeOf(this.#locale, this.messages), tabs: this.#tabs, access });
      this.#parts.frame.append(...this.#panel.nodes);
      this.#draw();
      return this.#panel;
    } catch (error) {
      console.error("bellwire-bell: its panel did not load.", error);
      if (turn === this.#turn) this.#coming = null;
      return null;
    }
  }

  /** Draws once a frame, whatever comes. */
  #plan() {
    if (!this.#isPlanned) this.#planAnew();
  }

  #planAnew() {
    this.#isPlanned = true;
    const draw = () => {
      this.#isPlanned = false;
      if (this.feed) this.#draw();
    };
    // A page that nobody sees has no frames, and still a title.
    if (document.visibilityState === "visible") requestAnimationFrame(draw);
    else setTimeout(draw, 100);
  }

  #draw() {
    const { badge, bell } = this.#parts;
    const { title, unreadCount } = this.#texts;
    const unread = this.feed?.counts.unread_count ?? 0;
    badge.textContent = shortened(unread);
    badge.hidden = !unread;
    bell.setAttribute("aria-label", unread ? `${title}, ${fill(unreadCount, unread)}` : title);
    if (this.hasAttribute("title-badge")) titleBadge(unread);
    this.#panel?.draw();
    if (!this.#isOpen || this.#panel?.isAtTop) void this.#trim();
    const counts = this.feed?.counts;
    const told = JSON.stringify(counts);
    if (counts && told !== this.#told) this.dispatchEvent(new CustomEvent("counts", { detail: counts }));
    this.#told = told;
  }

  /** What came long ago need not be held. */
  async #trim() {
    if (!this.feed || this.#isTrimming || this.feed.status !== "live" || this.feed.size <= MOST_KEPT) return;
    this.#isTrimming = true;
    await this.feed.trim();
    this.#isTrimming = false;
  }

  /** @param {FeedItem} item */
  async #arrived(item) {
    const { bell, spoken } = this.#parts;
    bell.classList.add("rings");
    this.#news++;
    this.#announcement ??= setTimeout(() => {
      spoken.textContent = fill(this.#texts.fresh, this.#news);
      this.#announcement = undefined;
      this.#news = 0;
    }, ANNOUNCE_MS);
    if (this.offer("item", { item })) void (await this.#fetchPanel())?.arrived(item);
  }
}

function skeleton() {
  const badge = h("span", { part: "badge", hidden: true, "aria-hidden": "true" });
  const bell = h("button", { part: "bell", type: "button", "aria-haspopup": "dialog", "aria-expanded": "false" }, icon(22, ...BELL), badge);
  const spoken = h("span", { class: "spoken", role: "status" });
  const frame = h("div", { class: "frame" }, h("div", { class: "bar" }, h("slot"), bell), spoken);
  return { badge, bell, spoken, frame };
}

/** @param {number} count */
function shortened(count) {
  return count > 99 ? "99+" : String(count);
}

/** Puts a number before the page's title, or takes it away. @param {number} count */
function titleBadge(count) {
  const plain = document.title.replace(/^\(\d+\+?\) /, "");
  const title = count ? `(${shortened(count)}) ${plain}` : plain;
  if (title !== document.title) document.title = title;
}

if (globalThis.customElements && !customElements.get("bellwire-bell")) customElements.define("bellwire-bell", BellwireBell);
