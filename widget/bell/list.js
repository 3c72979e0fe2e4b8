// A long list in few elements: only what is near the window that it scrolls in has cells, the rest has its height.

/** @typedef {import("../feed.js").FeedItem} FeedItem */
/** @typedef {{item: FeedItem, node: HTMLElement}} Cell */
/**
 * @typedef {object} Drawing How a list draws its items.
 * @property {(item: FeedItem) => HTMLElement} make
 * @property {(node: HTMLElement, item: FeedItem, place: number, all: number) => void} paint Shows what can change without other words.
 * @property {(ids: string[]) => void} seen These were in view for a moment.
 */

const CHUNK = 30;
const USUAL_HEIGHT = 84;
const MARGIN = "600px 0px";
const MOMENT_MS = 1_000;

export class List {
  /** @type {HTMLElement} */ #root;
  /** @type {Drawing} */ #drawing;
  /** @type {FeedItem[]} */ #items = [];
  /** @type {HTMLElement[]} */ #chunks = [];
  /** @type {Set<Element>} */ #near = new Set();
  /** @type {Map<string, Cell>} */ #cells = new Map();
  /** @type {Map<Element, string>} */ #inView = new Map();
  /** @type {IntersectionObserver} */ #nearness;
  /** @type {IntersectionObserver} */ #sight;
  /** @type {any} */ #moment;

  /** @param {HTMLElement} root @param {HTMLElement} scroller what it scrolls in @param {Drawing} drawing */
  constructor(root, scroller, drawing) {
    this.#root = root;
    this.#drawing = drawing;
    this.#nearness = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#near[isIntersecting ? "add" : "delete"](target);
      this.#draw();
    }, { root: scroller, rootMargin: MARGIN });
    this.#sight = new IntersectionObserver((entries) => this.#looked(entries), { threshold: 0.6 });
  }

  /** The cell of an item, if it has one now. @param {string} id */
  cell(id) {
    return this.#cells.get(id);
  }

  /** @param {FeedItem[]} items */
  show(items) {
    this.#items = items;
    const wanted = Math.ceil(items.length / CHUNK);
    for (const chunk of this.#chunks.splice(wanted)) {
      this.#nearness.unobserve(chunk);
      this.#near.delete(chunk);
      chunk.remove();
    }
    while (this.#chunks.length < wanted) {
      const chunk = document.createElement("div");
      chunk.role = "none";
      this.#chunks.push(chunk);
      this.#root.append(chunk);
      this.#nearness.observe(chunk);
    }
    this.#draw();
  }

  /** Moves the focus to the item at this place. @param {number} place */
  focus(place) {
    const at = Math.max(0, Math.min(place, this.#items.length - 1));
    const item = this.#items[at];
    if (!item) return;
    const chunk = this.#chunks[Math.floor(at / CHUNK)];
    this.#near.add(chunk);
    this.#draw();
    this.#cells.get(item.id)?.node.focus();
  }

  /** The place of the item that has the focus, or something in it; -1 if none has. */
  get focused() {
    const focused = [...this.#cells.values()].find(({ node }) => node.matches(":focus-within"));
    return focused ? this.#items.findIndex(({ id }) => id === focused.item.id) : -1;
  }

  stop() {
    clearTimeout(this.#moment);
    this.#nearness.disconnect();
    this.#sight.disconnect();
  }

  #draw() {
    const held = [...this.#cells.values()].find(({ node }) => node.matches(":focus-within"));
    const focus = /** @type {ShadowRoot} */ (this.#root.getRootNode()).activeElement;
    const place = held ? this.#items.findIndex(({ id }) => id === held.item.id) : -1;
    /** @type {Set<string>} */ const drawn = new Set();
    this.#chunks.forEach((chunk, at) => {
      const first = at * CHUNK;
      const items = this.#items.slice(first, first + CHUNK);
      const isDrawn = at === 0 || this.#near.has(chunk) || (place >= first && place < first + CHUNK);
      if (!isDrawn) return this.#empty(chunk, items.length);
      chunk.style.blockSize = "";
      this.#fill(chunk, items, first);
      for (const { id } of items) drawn.add(id);
    });
    for (const [id, cell] of this.#cells) if (!drawn.has(id)) this.#drop(id, cell);
    // An element that is moved loses the focus, and so does one that goes: then its neighbour has it.
    if (held && place >= 0 && !held.node.matches(":focus-within")) /** @type {HTMLElement} */ (focus)?.focus({ preventScroll: true });
    else if (held && place < 0) this.#pass(held);
  }

  /** @param {Cell} gone */
  #pass({ item }) {
    const next = this.#items.findIndex((other) => other.inserted_at <= item.inserted_at);
    this.focus(next < 0 ? this.#items.length - 1 : next);
  }

  /** @param {HTMLElement} chunk @param {number} count */
  #empty(chunk, count) {
    if (chunk.firstChild || !chunk.style.blockSize) {
      chunk.style.blockSize = `${chunk.firstChild ? chunk.offsetHeight : count * USUAL_HEIGHT}px`;
      chunk.replaceChildren();
    }
  }

  /** Keeps the elements of items that did not change. @param {HTMLElement} chunk @param {FeedItem[]} items @param {number} first */
  #fill(chunk, items, first) {
    let next = chunk.firstElementChild;
    items.forEach((item, at) => {
      let cell = this.#cells.get(item.id);
      let hadFocus = false;
      if (cell && cell.item !== item && isReworded(cell.item, item)) {
        hadFocus = cell.node.matches(":focus-within");
        if (cell.node === next) next = next.nextElementSibling;
        this.#drop(item.id, cell);
        cell = undefined;
      }
      if (!cell) {
        cell = { item, node: this.#drawing.make(item) };
        this.#cells.set(item.id, cell);
        this.#sight.observe(cell.node);
      }
      cell.item = item;
      this.#drawing.paint(cell.node, item, first + at, this.#items.length);
      if (cell.node === next) next = next.nextElementSibling;
      else chunk.insertBefore(cell.node, next);
      if (hadFocus) cell.node.focus({ preventScroll: true });
    });
    while (next) {
      const after = next.nextElementSibling;
      next.remove();
      next = after;
    }
  }

  /** @param {string} id @param {Cell} cell */
  #drop(id, { node }) {
    this.#cells.delete(id);
    this.#sight.unobserve(node);
    this.#inView.delete(node);
    node.remove();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #looked(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#inView.set(target, /** @type {HTMLElement} */ (target).dataset.id ?? "");
      else this.#inView.delete(target);
    }
    this.look();
  }

  /** Tells in a moment what is in view. */
  look() {
    clearTimeout(this.#moment);
    this.#moment = setTimeout(() => this.#drawing.seen([...this.#inView.values()]), MOMENT_MS);
  }
}

/** @param {FeedItem} a @param {FeedItem} b */
function isReworded(a, b) {
  return a.inserted_at !== b.inserted_at || (a.blocks !== b.blocks && JSON.stringify(a.blocks) !== JSON.stringify(b.blocks));
}
