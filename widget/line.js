// What a feed speaks through: one topic on a socket of its own, or on one that all tabs of a browser share.

import { Socket, backoff } from "./socket.js";

/** @typedef {import("./socket.js").Reply} Reply */
/** @typedef {import("./socket.js").SocketOptions} SocketOptions */
/**
 * @typedef {"idle"|"connecting"|"joining"|"joined"|"refused"|"offline"|"stopped"} LineState
 *
 * @typedef {object} Line
 * Events: `state`, and `message` (detail: {event, payload}).
 * @property {LineState} state
 * @property {string} problem Why it is refused or stopped, for a person to read.
 * @property {Record<string, any>} answer The server's answer to the latest join.
 * @property {boolean} isRelayed Whether another tab has joined: then the join's own news went there.
 * @property {() => Promise<boolean>} isWatched Whether somebody sees this page, or another of its tabs.
 * @property {(payload: () => object) => void} open The payload is asked for at every join.
 * @property {() => void} close
 * @property {(event: string, payload: object, timeout?: number) => Promise<Reply>} push
 * @property {(token: string|undefined) => void} renew Takes another user token.
 * @property {EventTarget["addEventListener"]} addEventListener
 * @property {EventTarget["removeEventListener"]} removeEventListener
 */

/** @type {Reply} */ const LOST = { status: "lost", response: {} };

/** A tab that is seen waits this long for one that is not to say something, before it speaks for itself. */
const PATIENCE_MS = 2_000;
const RELAY_MS = 12_000;
/** Tabs that are seen answer at once. */
const ANSWER_MS = 300;
const REJOIN_CEILING_MS = 60_000;

const isVisible = () => typeof document === "undefined" || document.visibilityState === "visible";

/** One topic on a socket of its own: joined, joined again after every loss, left once. @implements {Line} */
export class DirectLine extends EventTarget {
  isRelayed = false;
  /** @type {LineState} */ state = "idle";
  /** @type {Record<string, any>} */ answer = {};
  /** @type {string} */ topic;
  /** @type {Socket} */ socket;

  /** @type {() => object} */ #payload = () => ({});
  /** @type {string|null} */ #joinRef = null;
  #attempt = 0;
  #hasBeenOpen = false;
  /** @type {any} */ #timer;

  /** @param {SocketOptions} options @param {string} topic */
  constructor(options, topic) {
    super();
    this.topic = topic;
    this.socket = new Socket(options, this);
  }

  get problem() {
    return this.socket.problem || (this.state === "refused" ? this.answer.reason ?? "" : "");
  }

  async isWatched() {
    return isVisible();
  }

  /** @param {() => object} payload */
  open(payload) {
    this.#payload = payload;
    this.#become("connecting");
    this.socket.connect();
  }

  close() {
    if (this.state === "joined") void this.#leave();
    this.#joinRef = null;
    this.#become("idle");
    this.socket.disconnect();
  }

  /** @param {string} event @param {object} payload @param {number} [timeout] @returns {Promise<Reply>} */
  push(event, payload, timeout) {
    if (this.state !== "joined") return Promise.resolve(LOST);
    return this.socket.request([this.#joinRef, this.socket.ref(), this.topic, event, payload], timeout);
  }

  /** @param {string|undefined} token */
  renew(token) {
    this.socket.renew(token);
  }

  /** The socket's state has changed. */
  moved() {
    if (this.state === "idle") return;
    const { state } = this.socket;
    clearTimeout(this.#timer);
    this.#joinRef = null;
    this.#hasBeenOpen ||= state === "open";
    if (state === "open") {
      this.#attempt = 0;
      void this.#join();
    } else if (state === "stopped") this.#become(state);
    else if (this.socket.problem) this.#become("refused");
    else this.#become(state === "connecting" && !this.#hasBeenOpen ? state : "offline");
  }

  /** @param {string|null} joinRef @param {string} event @param {any} payload */
  receive(joinRef, event, payload) {
    if (joinRef !== null && joinRef !== this.#joinRef) return;
    if (event !== "phx_error" && event !== "phx_close") {
      this.dispatchEvent(new CustomEvent("message", { detail: { event, payload } }));
      return;
    }
    // We asked for neither: whatever ended it, the feed is still wanted.
    if (this.state !== "joined") return;
    this.#become("joining");
    this.#joinLater();
  }

  async #join() {
    clearTimeout(this.#timer);
    const ref = (this.#joinRef = this.socket.ref());
    this.#become("joining");
    const { status, response } = await this.socket.request([ref, ref, this.topic, "phx_join", this.#payload()]);
    if (ref !== this.#joinRef || status === "lost") return;
    this.answer = response;
    if (status === "ok") {
      this.#attempt = 0;
      this.socket.pace(response.reconnect_ms);
      return this.#become("joined");
    }
    if (status === "timeout") void this.#leave();
    else this.#become("refused");
    this.#joinLater();
  }

  #joinLater() {
    this.#timer = setTimeout(() => this.socket.state === "open" && this.#join(), backoff(this.#attempt++, Math.random(), REJOIN_CEILING_MS));
  }

  #leave() {
    return this.socket.request([this.#joinRef, this.socket.ref(), this.topic, "phx_leave", {}]);
  }

  /** @param {LineState} state */
  #become(state) {
    // A join that is answered anew is news, even if the state was the same before.
    if (state === this.state && state !== "joined") return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

/**
 * One topic for all tabs of a browser: the tab that holds a lock speaks with the server, and the others through it.
 * When it goes, the next has the lock in the same moment. What is said between them:
 * `hello` (a tab is there, or has come into view), `state`, `message`, `ask` and `reply`; `watched` (does anybody see one?) and `seen`.
 * @implements {Line}
 */
export class SharedLine extends EventTarget {
  /** @type {LineState} */ state = "idle";
  problem = "";
  /** @type {Record<string, any>} */ answer = {};
  /** The line of the tab that leads; null in the others. @type {Line|null} */ leading = null;

  /** @type {string} */ #name;
  /** @type {(token: string|undefined) => Line} */ #dial;
  /** @type {string|undefined} */ #token;
  /** @type {() => object} */ #payload = () => ({});
  /** @type {BroadcastChannel|null} */ #air = null;
  /** @type {AbortController|null} */ #life = null;
  /** @type {(() => void)|null} */ #resign = null;
  /** @type {Map<string, (reply: Reply) => void>} */ #asked = new Map();
  /** How often a tab has said that somebody sees it. */ #sightings = 0;
  #id = Math.random().toString(36).slice(2);
  #next = 0;
  /** @type {string|null} */ #leader = null;
  #leaderIsSeen = false;
  /** Whether the leader has said something since it was last greeted. */ #hasAnswered = false;
  #hasStolen = false;
  /** @type {any} */ #doubt;

  /** Whether this browser can share. */
  static get isPossible() {
    return typeof BroadcastChannel !== "undefined" && typeof navigator !== "undefined" && "locks" in navigator;
  }

  /**
   * @param {string} name the same in all tabs that share
   * @param {(token: string|undefined) => Line} dial makes the line of the tab that leads
   * @param {string} [token] the user's
   */
  constructor(name, dial, token) {
    super();
    this.#name = name;
    this.#dial = dial;
    this.#token = token;
  }

  get isRelayed() {
    return !this.leading;
  }

  async isWatched() {
    if (isVisible()) return true;
    const before = this.#sightings;
    this.#say({ is: "watched" });
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
    return this.#sightings > before;
  }

  /** @param {() => object} payload */
  open(payload) {
    this.#payload = payload;
    this.#life = new AbortController();
    const { signal } = this.#life;
    this.#air = new BroadcastChannel(this.#name);
    this.#air.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    document.addEventListener("visibilitychange", () => this.#greet(), { signal });
    // A page that was put away has heard nothing.
    window.addEventListener("pageshow", ({ persisted }) => {
      if (!persisted || this.leading) return;
      this.state = "connecting";
      this.#greet();
    }, { signal });
    this.#become("connecting");
    this.#queueUp({ signal });
    this.#greet();
  }

  close() {
    clearTimeout(this.#doubt);
    this.#life?.abort();
    this.#stepDown();
    this.#air?.close();
    this.#air = null;
    this.#settleAll();
    this.#become("idle");
  }

  /** @param {string} event @param {object} payload @param {number} [timeout] @returns {Promise<Reply>} */
  push(event, payload, timeout = RELAY_MS) {
    if (this.leading) return this.leading.push(event, payload, timeout);
    if (this.state !== "joined") return Promise.resolve(LOST);
    return new Promise((resolve) => {
      const id = `${this.#id}${this.#next++}`;
      const settle = (/** @type {Reply} */ reply) => {
        clearTimeout(timer);
        this.#asked.delete(id);
        resolve(reply);
      };
      const timer = setTimeout(() => {
        settle({ status: "timeout", response: {} });
        this.#greet();
      }, timeout);
      this.#asked.set(id, settle);
      this.#say({ is: "ask", id, event, payload, until: Date.now() + timeout });
    });
  }

  /** @param {string|undefined} token */
  renew(token) {
    this.#token = token;
    this.#hasStolen = false;
    if (this.leading) this.leading.renew(token);
    else this.#relieve();
  }

  /** Whoever leads has been refused for good, perhaps with a token that has ended: this tab's may be better. It tries once. */
  #relieve() {
    if (this.state !== "stopped" || this.#hasStolen || !isVisible()) return;
    this.#hasStolen = true;
    this.#queueUp({ steal: true });
  }

  /** @param {LockOptions} how */
  #queueUp(how) {
    const life = this.#life;
    let isGranted = false;
    const lead = () => new Promise((resolve) => {
      isGranted = true;
      this.#lead(() => resolve(undefined));
    });
    // Rejects when this line is closed before its turn, when another tab has taken the lock away, and where pages may have none.
    navigator.locks.request(this.#name, how, lead).catch(() => {
      if (!life || life.signal.aborted) return;
      if (isGranted) {
        this.#stepDown();
        this.#queueUp({ signal: life.signal });
        this.#greet();
      } else if (!how.steal) this.#lead(() => {});
    });
  }

  /** @param {() => void} resign */
  #lead(resign) {
    if (this.#life?.signal.aborted) return resign();
    clearTimeout(this.#doubt);
    this.#resign = resign;
    this.#leader = this.#id;
    this.#settleAll();
    const line = (this.leading = this.#dial(this.#token));
    line.addEventListener("state", () => {
      if (line !== this.leading) return;
      this.#tell();
      this.#become(line.state, line.problem, line.answer);
    });
    line.addEventListener("message", (event) => {
      const { detail } = /** @type {CustomEvent} */ (event);
      this.#say({ is: "message", detail });
      this.dispatchEvent(new CustomEvent("message", { detail }));
    });
    line.open(this.#payload);
  }

  #stepDown() {
    const line = this.leading;
    this.leading = null;
    line?.close();
    this.#resign?.();
    this.#resign = null;
  }

  /** Tells the other tabs how the line stands. */
  #tell() {
    const { state, problem, answer } = /** @type {Line} */ (this.leading);
    this.#say({ is: "state", state, problem, answer, isSeen: isVisible() });
  }

  #greet() {
    this.#say({ is: "hello" });
    if (this.leading) return this.#tell();
    this.#hasAnswered = false;
    this.#doubtLeader();
  }

  /** Browsers slow down pages that nobody sees, to the point of silence: one that is seen takes the lead then. */
  #doubtLeader() {
    clearTimeout(this.#doubt);
    this.#doubt = setTimeout(() => {
      const isWell = this.#hasAnswered && (this.#leaderIsSeen || this.state === "joined");
      if (!this.leading && !isWell && isVisible()) this.#queueUp({ steal: true });
    }, PATIENCE_MS);
  }

  /** @param {any} said */
  #hear(said) {
    const { is, from } = said;
    if (is === "hello") {
      if (this.leading) this.#tell();
      return;
    }
    if (is === "watched") return isVisible() ? this.#say({ is: "seen" }) : undefined;
    if (is === "seen") return void this.#sightings++;
    if (is === "ask") return void this.#relay(said);
    if (this.leading) return;
    this.#hasAnswered = true;
    if (is === "reply") return this.#asked.get(said.id)?.(said.reply);
    if (is === "message") return void this.dispatchEvent(new CustomEvent("message", { detail: said.detail }));
    // Another version of this script may say more.
    if (is !== "state") return;
    if (from !== this.#leader) {
      this.#settleAll();
      this.#leader = from;
    }
    this.#leaderIsSeen = said.isSeen;
    this.#become(said.state, said.problem, said.answer);
    if (said.state === "stopped") this.#relieve();
    else if (said.state !== "joined" && isVisible()) this.#doubtLeader();
  }

  /** @param {any} asked */
  async #relay({ id, event, payload, until }) {
    // A tab that was frozen comes to what nobody waits for any more.
    if (!this.leading || Date.now() > until) return;
    const reply = await this.leading.push(event, payload);
    this.#say({ is: "reply", id, reply });
  }

  /** What was asked of a leader that has gone may or may not have been done: it is asked again. */
  #settleAll() {
    for (const settle of [...this.#asked.values()]) settle(LOST);
  }

  /** @param {object} what */
  #say(what) {
    this.#air?.postMessage(JSON.stringify({ ...what, from: this.#id }));
  }

  /** @param {LineState} state */
  #become(state, problem = "", answer = {}) {
    const isSame = state === this.state && JSON.stringify(answer) === JSON.stringify(this.answer);
    [this.state, this.problem, this.answer] = [state, problem, answer];
    if (!isSame || this.leading) this.dispatchEvent(new Event("state"));
  }
}

/**
 * The line of a feed: shared if it may be and the browser can.
 * @param {SocketOptions & {share?: boolean}} options
 * @param {string} topic
 * @param {string} kind what tabs must have in common beside the feed, to share
 * @returns {SharedLine|DirectLine}
 */
export function lineOf(options, topic, kind) {
  const { host, apiKey, userToken, share } = options;
  const dial = (/** @type {string|undefined} */ token) => new DirectLine({ ...options, userToken: token }, topic);
  const isShared = share !== false && SharedLine.isPossible;
  return isShared ? new SharedLine(`bellwire/2 ${host} ${apiKey} ${topic} ${kind}`, dial, userToken) : dial(userToken);
}
