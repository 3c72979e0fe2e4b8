// What the bell says, by language. A page overrides any of it by `bell.messages`.

/** The names of the texts, in the order in which each language has them; `{n}` stands for a number or a reason. */
const NAMES = /** @type {const} */ ([
  "title", "unreadCount", "all", "unread", "archived", "markAllRead", "archiveAll", "loading",
  "empty", "emptyUnread", "emptyArchived", "hint", "offline", "retrying", "refused", "stopped",
  "markRead", "markUnread", "archive", "unarchive", "select", "selected", "clear", "undo",
  "doneRead", "doneUnread", "doneArchived", "doneUnarchived", "fresh", "failed", "preferences", "back",
  "notify", "open", "close", "noPreferences", "workflows", "categories", "channel_types", "reload",
]);

/** @typedef {Record<typeof NAMES[number], string>} Messages */

const ENGLISH = "Notifications|{n} unread|All|Unread|Archived|Mark all as read|Archive all|Loading…|All quiet|Nothing unread|Nothing archived|What concerns you will show up here.|Offline.|Offline. Trying again.|The server refused this feed: {n}|Disconnected. {n}|Mark as read|Mark as unread|Archive|Move back|Select|{n} selected|Clear selection|Undo|Marked as read: {n}|Marked as unread: {n}|Archived: {n}|Moved back: {n}|New notifications: {n}|That did not work: {n}|Preferences|Back|Notify me in this browser|Open|Close|There is nothing to choose here.|Notifications about|Topics|Ways to reach you|Try again";

/** The other languages, each in a file of its own. @type {Record<string, () => Promise<{default: string}>>} */
const OTHERS = {
  de: () => import("./bell/lang/de.js"),
  fr: () => import("./bell/lang/fr.js"),
  es: () => import("./bell/lang/es.js"),
  ja: () => import("./bell/lang/ja.js"),
  ar: () => import("./bell/lang/ar.js"),
};

const RIGHT_TO_LEFT = new Set(["ar", "he", "fa", "ur"]);

/** The texts in English, or as somebody has them. @param {Partial<Messages>} [own] @param {string} [texts] @returns {Messages} */
export function messagesOf(own, texts = ENGLISH) {
  const words = texts.split("|");
  return /** @type {Messages} */ ({ ...Object.fromEntries(NAMES.map((name, at) => [name, words[at]])), ...own });
}

/** The texts of a language; those in English, if there are none, or they do not come. @param {string} locale @param {Partial<Messages>} [own] */
export async function load(locale, own) {
  const other = await OTHERS[locale.slice(0, 2).toLowerCase()]?.().catch(() => null);
  return messagesOf(own, other?.default);
}

/** The locale in which times are told: that of the texts. @param {string} locale @param {Partial<Messages>} [own] */
export function localeOf(locale, own) {
  const language = locale.slice(0, 2).toLowerCase();
  return own || language === "en" || language in OTHERS ? locale : "en";
}

/** @param {string} locale */
export function directionOf(locale) {
  return RIGHT_TO_LEFT.has(locale.slice(0, 2).toLowerCase()) ? "rtl" : "ltr";
}

/** @param {string} text @param {string|number} n */
export function fill(text, n) {
  return text.replace("{n}", String(n)).trim();
}
