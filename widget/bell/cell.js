// One item of a feed as elements: who, what, when, and what can be done with it.

import { ago, h, icon } from "../dom.js";
import { safeUrl, sanitize } from "./sanitize.js";

/** @typedef {import("../feed.js").FeedItem} FeedItem */
/** @typedef {import("../feed.js").Block} Block */
/** @typedef {import("../locale.js").Messages} Messages */
/**
 * @typedef {object} Desk What a cell needs of its bell.
 * @property {Messages} texts
 * @property {string} locale
 * @property {string} target where links open
 * @property {(item: FeedItem, link: string|null, event: Event) => void} clicked
 * @property {(item: FeedItem, button: any, event: Event) => void} pressed
 * @property {(item: FeedItem) => void} toggleRead
 * @property {(item: FeedItem) => void} toggleArchived
 * @property {(item: FeedItem) => void} toggleSelected
 * @property {(id: string) => boolean} isSelected
 */

export const BELL = ["M6 8a6 6 0 0 1 12 0c0 7 3 9 3 9H3s3-2 3-9", "M10.3 21a1.94 1.94 0 0 0 3.4 0"];
export const BOX = ["M3 4h18v4H3z", "M5 8v12h14V8", "M10 12h4"];
const BACK = ["M3 4h18v4H3z", "M5 8v12h14V8", "M12 18v-7m-3 3 3-3 3 3"];
const TICK = "m5 12 5 5L19 7";

/** @type {WeakMap<Element, {item: FeedItem}>} */ const shown = new WeakMap();

/** The item that a cell shows now. @param {Element} node */
export function itemOf(node) {
  return /** @type {{item: FeedItem}} */ (shown.get(node)).item;
}

/** Where an item leads. @param {FeedItem} item */
export function linkOf(item) {
  return safeUrl(item.blocks.find((block) => block.name === "action_url")?.rendered);
}

/** What an item says, without its looks. @param {FeedItem} item */
export function textOf(item) {
  const block = item.blocks.find((block) => block.type === "markdown" || (block.type === "text" && block.name !== "action_url"));
  return (sanitize(block?.rendered ?? "").textContent ?? "").trim().replace(/\s+/g, " ");
}

/** @param {FeedItem} item @param {Desk} desk @returns {HTMLElement} */
export function makeCell(item, desk) {
  const { texts, target } = desk;
  const now = () => itemOf(node);
  const link = linkOf(item);
  const button = (/** @type {string} */ name, /** @type {(item: FeedItem) => void} */ act, /** @type {Node[]} */ ...inside) => {
    const made = h("button", { part: name, type: "button", tabIndex: -1 }, ...inside);
    made.addEventListener("click", (/** @type {Event} */ event) => (event.stopPropagation(), act(now())));
    return made;
  };
  const choose = button("choose", desk.toggleSelected, face(item), h("span", { class: "tick" }, icon(18, TICK)));
  choose.setAttribute("aria-label", texts.select);
  const blocks = item.blocks.filter((block) => block.name !== "action_url").map((block) => drawBlock(block, now, desk));
  const node = h("article", { part: "item", tabIndex: -1, "data-id": item.id, "aria-labelledby": `body-${item.id}` },
    choose,
    h("div", { part: "body", id: `body-${item.id}` }, ...blocks,
      h("div", { part: "time" }, h("time", { dateTime: item.inserted_at, title: new Date(item.inserted_at).toLocaleString(desk.locale) }, ago(item.inserted_at, Date.now(), desk.locale)))),
    link && h("a", { class: "cover", href: link, target, rel: "noopener", tabIndex: -1, "aria-label": texts.open }),
    button("dot", desk.toggleRead), button("archive", desk.toggleArchived));
  shown.set(node, { item });
  node.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const on = /** @type {Element} */ (event.target);
    if (!on.closest("button") && (!on.closest("a") || on.closest(".cover"))) desk.clicked(now(), link, event);
  });
  node.addEventListener("animationend", (/** @type {AnimationEvent} */ event) => event.animationName === "glow" && node.classList.remove("arrives"));
  return node;
}

/** Shows what can change without other words. @param {HTMLElement} node @param {FeedItem} item @param {Desk} desk */
export function paintCell(node, item, { texts, isSelected }) {
  const [isRead, isArchived, isChosen] = [!!item.read_at, !!item.archived_at, isSelected(item.id)];
  const known = /** @type {any} */ (shown.get(node) ?? {});
  const state = `${isRead}${isArchived}${isChosen}`;
  shown.set(node, /** @type {any} */ ({ item, state }));
  if (known.state === state) return;
  node.classList.toggle("read", isRead);
  node.classList.toggle("chosen", isChosen);
  node.querySelector(".choose")?.setAttribute("aria-pressed", String(isChosen));
  name(node.querySelector(".dot"), isRead ? texts.markUnread : texts.markRead);
  const archive = node.querySelector(".archive");
  name(archive, isArchived ? texts.unarchive : texts.archive);
  archive?.replaceChildren(icon(16, ...(isArchived ? BACK : BOX)));
}

/** @param {Element|null} button @param {string} label */
function name(button, label) {
  button?.setAttribute("aria-label", label);
  button?.setAttribute("title", label);
}

/** @param {Block} block @param {() => FeedItem} item @param {Desk} desk */
function drawBlock(block, item, { target, pressed }) {
  if (block.type !== "button_set") {
    return h("div", { class: "block", dir: "auto" }, block.type === "markdown" ? sanitize(block.rendered ?? "", target) : block.rendered ?? "");
  }
  return h("div", { class: "actions" }, ...(block.buttons ?? []).map((button, at) => {
    const href = safeUrl(button.action);
    const looks = { part: "action", class: at ? "" : "first" };
    const node = href
      ? h("a", { ...looks, href, target, rel: "noopener" }, button.label)
      : h("button", { ...looks, type: "button" }, button.label);
    node.addEventListener("click", (/** @type {MouseEvent} */ event) => (event.stopPropagation(), pressed(item(), button, event)));
    return node;
  }));
}

/** Whom an item is from. @param {FeedItem} item */
export function face(item) {
  const actor = item.actors?.[0];
  const name = String(actor?.name ?? actor?.properties?.name ?? "");
  const avatar = safeUrl(actor?.avatar ?? actor?.properties?.avatar);
  if (avatar) return h("span", { part: "face" }, h("img", { src: avatar, alt: "", loading: "lazy", referrerPolicy: "no-referrer" }));
  const tone = [...(name || item.source?.key || "")].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0) * 47, 0) % 360;
  const initials = name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase();
  // What a style sheet writes is no text, which the name of the button around it would have to have.
  const made = h("span", { part: "face", class: "tone", "aria-hidden": "true", "data-initials": initials }, !initials && icon(18, ...BELL));
  made.style.setProperty("--tone", tone);
  return made;
}
