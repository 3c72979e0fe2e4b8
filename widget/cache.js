// A copy of the feed in this browser, so that a page has something to show before the server answers, and marks survive it.

/** @typedef {import("./feed.js").Mark} Mark */

const NAME = "bellwire";
const FEEDS = "feeds";
const MARKS = "marks";
/** How long a feed waits for its copy. */
const PATIENCE_MS = 1_000;

/** Whatever goes wrong here, the feed does without a copy. */
export class Cache {
  /** @type {IDBDatabase} */ #base;
  /** @type {string} */ #place;
  /** @type {string} */ #kind;

  /** @param {IDBDatabase} base @param {string} place @param {string} kind */
  constructor(base, place, kind) {
    this.#base = base;
    this.#place = place;
    this.#kind = kind;
  }

  /**
   * Opens the copies of one user's feed, and removes those of anybody else at the same place.
   * @param {string} scope server, environment and channel @param {string} user @param {string} kind the feed's options
   * @returns {Promise<Cache|null>}
   */
  static async open(scope, user, kind) {
    try {
      if (typeof indexedDB === "undefined") return null;
      const asked = indexedDB.open(NAME, 1);
      asked.onupgradeneeded = () => {
        for (const store of [FEEDS, MARKS]) asked.result.createObjectStore(store);
      };
      const base = await Promise.race([done(asked), tooLate()]).catch((reason) => {
        // Who comes later than that must not be in the way of those who remove it.
        asked.onsuccess = () => asked.result.close();
        throw reason;
      });
      base.onversionchange = () => base.close();
      const place = JSON.stringify([scope, user]);
      const stores = base.transaction([FEEDS, MARKS], "readwrite");
      for (const name of [FEEDS, MARKS]) {
        const store = stores.objectStore(name);
        for (const key of /** @type {string[][]} */ (await done(store.getAllKeys()))) {
          const [[theirs, whose]] = [JSON.parse(key[0])];
          if (theirs === scope && whose !== user) store.delete(key);
        }
      }
      return new Cache(base, place, kind);
    } catch {
      return null;
    }
  }

  /** Removes every copy. */
  static async forget() {
    if (typeof indexedDB !== "undefined") await done(indexedDB.deleteDatabase(NAME)).catch(() => {});
  }

  /** @returns {Promise<{feed: any, marks: any[]}>} */
  async read() {
    try {
      const stores = this.#base.transaction([FEEDS, MARKS]);
      const all = IDBKeyRange.bound([this.#place], [this.#place, []]);
      const [feed, marks] = await Promise.all([
        done(stores.objectStore(FEEDS).get([this.#place, this.#kind])), done(stores.objectStore(MARKS).getAll(all)),
      ]);
      return { feed, marks };
    } catch {
      return { feed: null, marks: [] };
    }
  }

  /** @param {object} feed */
  write(feed) {
    this.#change(FEEDS, (store) => store.put(feed, [this.#place, this.#kind]));
  }

  /** @param {Mark} mark */
  keepMark({ settle: _, ...mark }) {
    this.#change(MARKS, (store) => store.put({ ...mark, tries: 0, isSent: false }, [this.#place, mark.id]));
  }

  /** @param {string} id */
  dropMark(id) {
    this.#change(MARKS, (store) => store.delete([this.#place, id]));
  }

  close() {
    this.#base.close();
  }

  /** @param {string} name @param {(store: IDBObjectStore) => void} change */
  #change(name, change) {
    try {
      change(this.#base.transaction(name, "readwrite").objectStore(name));
    } catch {
      // The browser has closed it, or there is no room: the next visit begins without.
    }
  }
}

/** Some browsers never answer. @returns {Promise<never>} */
function tooLate() {
  return new Promise((_, reject) => setTimeout(reject, PATIENCE_MS));
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
