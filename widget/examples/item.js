// What an item says and where it leads, for a bell that draws its own.

/** @typedef {import("@bellwire/bell/feed").FeedItem} FeedItem */

/** The words of an item, without their looks. @param {FeedItem} item */
export function textOf(item) {
  const block = item.blocks.find(({ type, name }) => type !== "button_set" && name !== "action_url");
  // Parsed apart from the page: nothing in it runs or loads. Whoever puts `rendered` into the page sanitises it first.
  return new DOMParser().parseFromString(block?.rendered ?? "", "text/html").body.textContent?.trim() ?? "";
}

/** An address that is safe to follow, or undefined. @param {FeedItem} item */
export function linkOf(item) {
  const address = item.blocks.find(({ name }) => name === "action_url")?.rendered;
  if (!address || !URL.canParse(address, document.baseURI)) return undefined;
  const { href, protocol } = new URL(address, document.baseURI);
  return /^https?:$/.test(protocol) ? href : undefined;
}
