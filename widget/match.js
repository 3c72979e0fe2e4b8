// Whether an item belongs to a view: what the server decides by a feed's options, decided here for marks that it has not seen yet.

/** @typedef {import("./feed.js").FeedItem} FeedItem */
/** @typedef {Record<string, any>} Filter Feed options as the REST API has them, `trigger_data` as an object. */

/** @type {Record<string, (item: FeedItem) => boolean>} */
const STATUS = {
  all: () => true,
  unread: (item) => !item.read_at,
  read: (item) => !!item.read_at,
  unseen: (item) => !item.seen_at,
  seen: (item) => !!item.seen_at,
};

/** @type {Record<string, (item: FeedItem) => boolean>} */
const ARCHIVED = { include: () => true, exclude: (item) => !item.archived_at, only: (item) => !!item.archived_at };

/** @type {Record<string, (a: string, b: string) => boolean>} */
const BOUNDS = { gt: (a, b) => a > b, gte: (a, b) => a >= b, lt: (a, b) => a < b, lte: (a, b) => a <= b };

/** @param {Filter} filter @param {FeedItem} item */
export function matches(filter, item) {
  return Object.entries(filter).every(([name, wanted]) => wanted === undefined || wanted === null || holds(name, wanted, item));
}

/** @param {string} name @param {any} wanted @param {FeedItem} item @returns {boolean} */
function holds(name, wanted, item) {
  if (name === "status") return (STATUS[wanted] ?? STATUS.all)(item);
  if (name === "archived") return (ARCHIVED[wanted] ?? ARCHIVED.exclude)(item);
  if (name === "source") return item.source?.key === wanted;
  // What belongs to no tenant belongs to all.
  if (name === "tenant") return !item.tenant || item.tenant === wanted;
  if (name === "has_tenant") return !!item.tenant === wanted;
  if (name === "workflow_categories") return !wanted.length || wanted.some((/** @type {string} */ one) => item.source?.categories?.includes(one));
  if (name === "trigger_data") return Object.entries(wanted).every(([key, value]) => item.data?.[key] === value);
  const bound = BOUNDS[name.replace("inserted_at.", "")];
  return !bound || bound(item.inserted_at, wanted);
}
