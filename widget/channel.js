// One topic on a socket: joined, joined again after every loss, left once.

import { backoff } from "./socket.js";

/** @typedef {import("./socket.js").Socket} Socket */
/** @typedef {import("./socket.js").Reply} Reply */
/** @typedef {"closed"|"joining"|"joined"|"refused"|"lost"} ChannelState */

const REJOIN_CEILING_MS = 60_000;

/**
 * Events: `state` (detail: ChannelState) and `message` (detail: {event, payload}).
 * The join's payload is asked for at every join, so that it can say how far its reader has come.
 */
export class Channel extends EventTarget {
  /** @type {ChannelState} */ state = "closed";
  /** The server's answer to the latest join. @type {Record<string, any>} */ answer = {};
  /** @type {string} */ topic;

  /** @type {Socket} */ #socket;
  /** @type {() => object} */ #payload;
  /** @type {string|null} */ #joinRef = null;
  #attempt = 0;
  /** @type {any} */ #timer;

  /** @param {Socket} socket @param {string} topic @param {() => object} payload */
  constructor(socket, topic, payload) {
    super();
    this.#socket = socket;
    this.topic = topic;
    this.#payload = payload;
  }

  join() {
    if (this.state !== "closed") return;
    this.#become("lost");
    this.#socket.attach(this);
  }

  /** Leaves; nothing of this topic is heard afterwards. */
  leave() {
    this.#socket.detach(this);
    clearTimeout(this.#timer);
    if (this.state === "joined" || this.state === "joining") this.#sayLeave();
    this.#joinRef = null;
    this.#become("closed");
  }

  /**
   * Sends an event and waits for its reply; `lost` at once while not joined.
   * @param {string} event @param {object} payload @param {number} [timeout]
   * @returns {Promise<Reply>}
   */
  push(event, payload, timeout) {
    if (this.state !== "joined") return Promise.resolve({ status: "lost", response: {} });
    return this.#socket.request([this.#joinRef, this.#socket.ref(), this.topic, event, payload], timeout);
  }

  /** The socket opened. */
  opened() {
    this.#attempt = 0;
    void this.#join();
  }

  /** The socket closed. */
  closed() {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    this.#become("lost");
  }

  /** @param {string|null} joinRef @param {string} event @param {any} payload */
  receive(joinRef, event, payload) {
    if (joinRef !== null && joinRef !== this.#joinRef) return;
    if (event !== "phx_error" && event !== "phx_close") {
      this.dispatchEvent(new CustomEvent("message", { detail: { event, payload } }));
      return;
    }
    // We asked for neither: whatever ended the channel, its reader still wants it.
    if (this.state !== "joined") return;
    this.#become("lost");
    this.#joinLater();
  }

  async #join() {
    clearTimeout(this.#timer);
    const ref = (this.#joinRef = this.#socket.ref());
    this.#become("joining");
    const reply = await this.#socket.request([ref, ref, this.topic, "phx_join", this.#payload()]);
    if (ref !== this.#joinRef || reply.status === "lost") return;
    this.answer = reply.response;
    if (reply.status === "ok") {
      this.#attempt = 0;
      this.#socket.pace(reply.response.reconnect_ms);
      return this.#become("joined");
    }
    if (reply.status === "timeout") this.#sayLeave();
    this.#become(reply.status === "error" ? "refused" : "lost");
    this.#joinLater();
  }

  #joinLater() {
    clearTimeout(this.#timer);
    const delay = backoff(this.#attempt++, Math.random(), REJOIN_CEILING_MS);
    this.#timer = setTimeout(() => this.#socket.isOpen && void this.#join(), delay);
  }

  #sayLeave() {
    void this.#socket.request([this.#joinRef, this.#socket.ref(), this.topic, "phx_leave", {}]);
  }

  /** @param {ChannelState} state */
  #become(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
