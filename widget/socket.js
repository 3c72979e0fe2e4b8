// Speaks Phoenix Channels 2.0.0 over one WebSocket, and keeps it alive.

import { ask } from "./rest.js";

/**
 * @typedef {"idle"|"connecting"|"open"|"waiting"|"stopped"} SocketState
 * `waiting` dials again by itself; `stopped` will not (see `Socket.problem`).
 *
 * @typedef {[joinRef: string|null, ref: string|null, topic: string, event: string, payload: any]} Frame
 *
 * @typedef {object} Reply
 * @property {"ok"|"error"|"timeout"|"lost"} status `lost`: the connection ended before an answer came.
 * @property {Record<string, any>} response
 *
 * @typedef {object} SocketOptions
 * @property {string} host Address of the server, `http(s)` or `ws(s)`.
 * @property {string} apiKey The environment's public key.
 * @property {string} [userToken]
 * @property {() => Promise<string>|string} [refreshToken] Asked for a new token shortly before the old one ends.
 *
 * @typedef {object} Listener Whom the socket is for.
 * @property {string} topic
 * @property {() => void} moved The socket's state has changed.
 * @property {(joinRef: string|null, event: string, payload: any) => void} receive
 */

const HEARTBEAT_MS = 30_000;
const ANSWER_MS = 10_000;
const PROBE_MS = 5_000;
const BACKOFF_FLOOR_MS = 250;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_CEILING_MS = 30_000;
/** A connection shorter than this does not reset the back-off: a server that accepts and drops is still ill. */
const STEADY_MS = 10_000;
const TOKEN_LEAD_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Of so many dials that fail one after the other, one asks why: not the first, for a server that starts anew has enough to do. */
const ASK_EVERY = 4;

const TOKEN_ENDED = 4001;
const POLICY_VIOLATION = 1008;

/** The longest that a server may ask its clients to wait. */
const LONGEST_SPREAD_MS = 300_000;

/**
 * @typedef {[least: number, most: number]} Spread Over how long the clients of a server that goes spread their return.
 * @type {Spread}
 */
const NO_SPREAD = [BACKOFF_FLOOR_MS, 0];

/**
 * Full jitter between the floor and a ceiling that doubles with every attempt, and is no less than the server asked for.
 * @param {number} attempt counted from 0
 * @param {number} random in [0, 1)
 * @param {number} [ceiling]
 * @param {Spread} [spread]
 */
export function backoff(attempt, random, ceiling = BACKOFF_CEILING_MS, [least, most] = NO_SPREAD) {
  const top = Math.max(most, Math.min(ceiling, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16)));
  return least + random * (top - least);
}

/**
 * What a server says of its clients' return, if it makes sense.
 * @param {unknown} said
 * @returns {Spread}
 */
function spreadOf(said) {
  if (!Array.isArray(said) || !said.every(Number.isFinite)) return NO_SPREAD;
  const [least, most] = said;
  return 0 <= least && least <= most && most <= LONGEST_SPREAD_MS ? [least, most] : NO_SPREAD;
}

/**
 * When a token ends on this machine's clock; `Infinity` if it does not say. A token just issued is
 * measured by its own life span, so that a wrong clock here does not make every fresh token look old.
 * @param {string|undefined} token
 * @param {number} now
 * @param {boolean} isFresh
 */
export function tokenEnd(token, now, isFresh) {
  const part = token?.split(".")[1];
  if (!part) return Infinity;
  try {
    const { exp, iat } = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
    if (typeof exp !== "number") return Infinity;
    return isFresh && typeof iat === "number" ? now + (exp - iat) * 1000 : exp * 1000;
  } catch {
    return Infinity;
  }
}

/**
 * One connection to the server, dialled again for as long as it is wanted.
 *
 * Event: `frame` (detail: {direction: "in"|"out", at: number, frame: Frame}).
 * Nothing here throws or rejects later: a request always resolves to a Reply.
 */
export class Socket extends EventTarget {
  /** @type {SocketState} */ state = "idle";
  /** Why the socket stopped, or the server does not let it in, for a person to read. */ problem = "";

  /** @type {SocketOptions} */ #options;
  /** @type {WebSocket|null} */ #ws = null;
  /** @type {Listener} */ #listener;
  /** @type {Map<string, {settle: (reply: Reply) => void, timer: any}>} */ #waiting = new Map();
  #nextRef = 1;
  #turn = 0;
  #attempt = 0;
  #spread = NO_SPREAD;
  #openedAt = 0;
  #heardAt = 0;
  #tokenEndsAt = Infinity;
  /** The token in the address of the connection. @type {string|undefined} */ #dialled;
  /** @type {any} */ #retryTimer;
  /** @type {any} */ #dialTimer;
  /** @type {any} */ #beatTimer;
  /** @type {any} */ #tokenTimer;
  /** @type {AbortController|null} */ #wakeListeners = null;

  /** @param {SocketOptions} options @param {Listener} listener */
  constructor(options, listener) {
    super();
    this.#listener = listener;
    this.#options = { ...options };
    this.#tokenEndsAt = !options.userToken && options.refreshToken ? 0 : tokenEnd(options.userToken, Date.now(), false);
  }

  get isOpen() {
    return this.state === "open";
  }

  /** Dials, and keeps dialling until `disconnect`. */
  connect() {
    if (this.state !== "idle" && this.state !== "stopped") return;
    this.#attempt = 0;
    this.problem = "";
    this.#watchForWaking();
    void this.#dial();
  }

  /** Hangs up for good (until the next `connect`). */
  disconnect() {
    this.#wakeListeners?.abort();
    this.#drop(1000);
    this.#become("idle");
  }

  /** Takes another token: for the next dial, or at once where the last one has ended. @param {string|undefined} token */
  renew(token) {
    this.#options.userToken = token;
    this.#tokenEndsAt = tokenEnd(token, Date.now(), true);
    if (this.state === "open") this.#planTokenRenewal();
    if (this.state === "stopped") this.connect();
  }

  /** The server says over how long its clients are to spread their return, should it go. @param {unknown} said */
  pace(said) {
    this.#spread = spreadOf(said);
  }

  /** A reference never used before on this socket. */
  ref() {
    return String(this.#nextRef++);
  }

  /**
   * Sends one frame and waits for its reply.
   * @param {Frame} frame its `ref` must come from `ref()`
   * @param {number} [timeout]
   * @returns {Promise<Reply>}
   */
  request(frame, timeout = ANSWER_MS) {
    const ref = String(frame[1]);
    return new Promise((resolve) => {
      const settle = (/** @type {Reply} */ reply) => {
        clearTimeout(this.#waiting.get(ref)?.timer);
        this.#waiting.delete(ref);
        resolve(reply);
      };
      const timer = setTimeout(() => settle({ status: "timeout", response: {} }), timeout);
      this.#waiting.set(ref, { settle, timer });
      if (!this.#send(frame)) settle({ status: "lost", response: {} });
    });
  }

  async #dial() {
    const turn = ++this.#turn;
    clearTimeout(this.#retryTimer);
    this.#become("connecting");
    if (this.#tokenIsEnding()) await this.#renewToken();
    if (turn !== this.#turn) return;
    if (this.#options.apiKey.startsWith("sk_")) return this.#stop("This is a secret key, which must not be on a page: revoke it, and use the public one.");
    try {
      this.#ws = new WebSocket(this.#address());
    } catch {
      return this.#stop("The server's address is not valid.");
    }
    const ws = this.#ws;
    ws.onopen = () => this.#opened();
    ws.onmessage = (event) => this.#received(event.data);
    ws.onclose = (event) => this.#closed(event.code, event.reason);
    this.#dialTimer = setTimeout(() => this.#closed(1006, "no answer"), ANSWER_MS);
  }

  #address() {
    const url = new URL(this.#options.host.replace(/\/+$/, "") + "/ws/v1/websocket");
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("api_key", this.#options.apiKey);
    this.#dialled = this.#options.userToken;
    if (this.#options.userToken) url.searchParams.set("user_token", this.#options.userToken);
    url.searchParams.set("vsn", "2.0.0");
    return url;
  }

  #opened() {
    clearTimeout(this.#dialTimer);
    this.#openedAt = this.#heardAt = Date.now();
    this.problem = "";
    this.#beatTimer = setTimeout(() => this.#beat(ANSWER_MS), HEARTBEAT_MS);
    this.#planTokenRenewal();
    this.#become("open");
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    const wasOpen = this.isOpen;
    const { refreshToken } = this.#options;
    this.#drop(1000);
    if (code === POLICY_VIOLATION) return this.#stop(reason || "The server refused this connection.");
    const isRenewed = refreshToken || this.#options.userToken !== this.#dialled;
    if (code === TOKEN_ENDED && !isRenewed) return this.#stop("The user's token has ended.");
    if (code === TOKEN_ENDED) this.#tokenEndsAt = 0;
    this.#retry(wasOpen);
    if (!wasOpen && this.#attempt % ASK_EVERY === 2) void this.#askWhy();
  }

  /** Browsers do not say why a server refuses a connection, or that it does: its REST API would refuse the same for the same reason. */
  async #askWhy() {
    const turn = this.#turn;
    const [, channel, user] = this.#listener.topic.match(/^feeds:([^:]*):(.*)$/) ?? [];
    let problem = "";
    try {
      const answer = await ask(this.#options, user, `feeds/${encodeURIComponent(channel)}?page_size=1`);
      if ([401, 403].includes(answer.status)) problem = (await answer.json()).message;
    } catch {
      // Nobody there.
    }
    if (turn !== this.#turn || problem === this.problem) return;
    if (problem) {
      this.#tokenEndsAt = 0;
      console.warn(`Bellwire: ${problem}`);
    }
    this.problem = problem;
    this.#listener.moved();
  }

  /** @param {boolean} wasOpen */
  #retry(wasOpen) {
    if (wasOpen && Date.now() - this.#openedAt > STEADY_MS) this.#attempt = 0;
    const delay = backoff(this.#attempt++, Math.random(), BACKOFF_CEILING_MS, this.#spread);
    this.#become("waiting");
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => void this.#dial(), delay);
  }

  /** @param {string} problem */
  #stop(problem) {
    this.#wakeListeners?.abort();
    this.#drop(1000);
    this.problem = problem;
    console.warn(`Bellwire: ${problem}`);
    this.#become("stopped");
  }

  /** Lets go of the connection at once: a dead one may take minutes to report its own end. @param {number} code */
  #drop(code) {
    this.#turn++;
    for (const timer of [this.#retryTimer, this.#dialTimer, this.#beatTimer, this.#tokenTimer]) clearTimeout(timer);
    const ws = this.#ws;
    this.#ws = null;
    if (ws) {
      ws.onopen = ws.onmessage = ws.onclose = null;
      ws.close(code);
    }
    for (const { settle } of [...this.#waiting.values()]) settle({ status: "lost", response: {} });
  }

  /** @param {SocketState} state */
  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.#listener.moved();
  }

  /** @param {Frame} frame */
  #send(frame) {
    if (this.#ws?.readyState !== 1) return false;
    this.#ws.send(JSON.stringify(frame));
    this.#tell("out", frame);
    return true;
  }

  /** @param {unknown} data */
  #received(data) {
    this.#heardAt = Date.now();
    const frame = parse(data);
    if (!frame) return;
    this.#tell("in", frame);
    const [joinRef, ref, topic, event, payload] = frame;
    if (event === "phx_reply") {
      const status = payload?.status === "ok" ? "ok" : "error";
      return this.#waiting.get(String(ref))?.settle({ status, response: payload?.response ?? {} });
    }
    if (topic === this.#listener.topic) this.#listener.receive(joinRef, event, payload ?? {});
  }

  /** @param {"in"|"out"} direction @param {Frame} frame */
  #tell(direction, frame) {
    this.dispatchEvent(new CustomEvent("frame", { detail: { direction, at: Date.now(), frame } }));
  }

  /** Asks for a sign of life; silence means the connection is dead. @param {number} patience */
  async #beat(patience) {
    clearTimeout(this.#beatTimer);
    const turn = this.#turn;
    const reply = await this.request([null, this.ref(), "phoenix", "heartbeat", {}], patience);
    if (turn !== this.#turn) return;
    const isSilent = reply.status !== "ok" && Date.now() - this.#heardAt >= patience;
    if (isSilent) return this.#closed(1006, "silence");
    // Another may have been on its way.
    clearTimeout(this.#beatTimer);
    this.#beatTimer = setTimeout(() => this.#beat(ANSWER_MS), HEARTBEAT_MS);
  }

  #watchForWaking() {
    if (typeof window === "undefined") return;
    this.#wakeListeners = new AbortController();
    const { signal } = this.#wakeListeners;
    const wake = () => this.#wake();
    window.addEventListener("online", wake, { signal });
    window.addEventListener("offline", wake, { signal });
    window.addEventListener("pageshow", wake, { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  }

  /** The page or the network came back: dial at once, or find out whether the old connection survived. */
  #wake() {
    if (this.state === "waiting" && navigator.onLine !== false) {
      this.#attempt = 0;
      void this.#dial();
    } else if (this.isOpen && Date.now() - this.#heardAt > 1_000) {
      void this.#beat(PROBE_MS);
    }
  }

  #tokenIsEnding() {
    return Boolean(this.#options.refreshToken) && this.#tokenEndsAt - TOKEN_LEAD_MS <= Date.now();
  }

  #planTokenRenewal() {
    clearTimeout(this.#tokenTimer);
    if (!this.#options.refreshToken || this.#tokenEndsAt === Infinity) return;
    const due = Math.max(this.#tokenEndsAt - TOKEN_LEAD_MS - Date.now(), HEARTBEAT_MS);
    this.#tokenTimer = setTimeout(() => void this.#renewWhileOpen(), Math.min(due, LONGEST_TIMER_MS));
  }

  /** The token travels in the address, so a new one needs a new connection; channels resume where they were. */
  async #renewWhileOpen() {
    const turn = this.#turn;
    const isRenewed = this.#tokenIsEnding() && (await this.#renewToken());
    if (turn !== this.#turn) return;
    if (!isRenewed) return this.#planTokenRenewal();
    this.#drop(1000);
    void this.#dial();
  }

  async #renewToken() {
    const patience = new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
    try {
      const token = await Promise.race([this.#options.refreshToken?.(), patience]);
      if (typeof token !== "string" || !token) throw new Error("it gave none");
      this.#options.userToken = token;
      this.#tokenEndsAt = tokenEnd(token, Date.now(), true);
      return true;
    } catch (error) {
      console.warn("Bellwire: refreshToken", error);
      return false;
    }
  }
}

/** @param {unknown} data @returns {Frame|null} */
function parse(data) {
  if (typeof data !== "string") return null;
  try {
    const frame = JSON.parse(data);
    return Array.isArray(frame) && frame.length >= 5 ? /** @type {Frame} */ (frame.slice(0, 5)) : null;
  } catch {
    return null;
  }
}
