// Rebuilds a piece of HTML from a short list of harmless elements; nothing of the original node is kept.

const ELEMENTS = new Set(
  "a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i img li ol p pre s span strong sub sup table tbody td th thead tr u ul".split(" "),
);
/** Left out with all they contain; any other unknown element is replaced by its contents. */
const DROPPED = new Set("script style template iframe object embed noscript svg math textarea select title".split(" "));
const LINK_PROTOCOLS = new Set(["http:", "https:", "mailto:", "tel:"]);
const IMAGE_PROTOCOLS = new Set(["http:", "https:"]);

/** Pages that insist on trusted types must allow this name. What is parsed here is never shown: only what is rebuilt of it. */
const policy = policyOf(/** @type {any} */ (globalThis).trustedTypes);

/** @param {any} types */
function policyOf(types) {
  try {
    return types?.createPolicy("bellwire", { createHTML: (/** @type {string} */ html) => html });
  } catch {
    // The page names others only: where it insists on them, what is parsed is refused.
    return undefined;
  }
}

/**
 * A link that is safe to follow, or null.
 * @param {string|null|undefined} address
 * @param {Set<string>} [protocols]
 */
export function safeUrl(address, protocols = LINK_PROTOCOLS) {
  if (!address) return null;
  try {
    const url = new URL(address, document.baseURI);
    return protocols.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * @param {string} html
 * @param {string} [target] where links open
 * @returns {DocumentFragment}
 */
export function sanitize(html, target) {
  const parsed = new DOMParser().parseFromString(policy?.createHTML(html) ?? html, "text/html");
  const fragment = document.createDocumentFragment();
  copyChildren(parsed.body, fragment, target);
  return fragment;
}

/** @param {Node} from @param {Node} to @param {string|undefined} target */
function copyChildren(from, to, target) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) to.appendChild(document.createTextNode(node.nodeValue ?? ""));
    if (!(node instanceof Element)) continue;
    const name = node.localName;
    if (DROPPED.has(name)) continue;
    const copy = ELEMENTS.has(name) ? copyElement(node, name, target) : to;
    copyChildren(node, copy, target);
    if (copy !== to) to.appendChild(copy);
  }
}

/** @param {Element} node @param {string} name @param {string|undefined} target */
function copyElement(node, name, target) {
  const copy = document.createElement(name);
  if (copy instanceof HTMLAnchorElement) {
    const href = safeUrl(node.getAttribute("href"));
    if (href) copy.href = href;
    if (target) copy.target = target;
    copy.rel = "noopener nofollow";
  }
  if (copy instanceof HTMLImageElement) {
    const src = safeUrl(node.getAttribute("src"), IMAGE_PROTOCOLS);
    copy.alt = node.getAttribute("alt") ?? "";
    copy.loading = "lazy";
    copy.referrerPolicy = "no-referrer";
    if (src) copy.src = src;
  }
  return copy;
}
