// The reader's own preferences, as switches: what the server has for them by default, and what they have chosen.

import { h } from "../dom.js";
import { fill } from "../locale.js";
import { ask } from "../rest.js";

/** @typedef {import("../locale.js").Messages} Messages */
/** @typedef {{host: string, publicKey: string, user: string, tenant: string|null, token: () => Promise<string|null>}} Access */

const KINDS = /** @type {const} */ (["categories", "workflows", "channel_types"]);

/** @param {Access} access @param {string} method @param {object} [body] */
async function exchange({ host, publicKey, user, tenant, token }, method, body) {
  const path = `preferences/${encodeURIComponent(tenant ?? "default")}`;
  const response = await ask({ host, apiKey: publicKey, userToken: await token() }, user, path, { method, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message ?? response.status);
  return answer;
}

/** Draws the switches into `pane`. @param {HTMLElement} pane @param {Access} access @param {Messages} texts @param {(text: string) => void} failed */
export async function showPreferences(pane, access, texts, failed) {
  pane.replaceChildren(h("p", { class: "hint" }, texts.loading));
  try {
    const set = await exchange(access, "GET");
    const groups = KINDS.map((kind) => group(kind, set, access, texts, failed)).filter(Boolean);
    pane.replaceChildren(...(groups.length ? groups : [h("p", { class: "hint" }, texts.noPreferences)]));
  } catch (error) {
    pane.replaceChildren(h("p", { class: "hint" }, fill(texts.failed, /** @type {Error} */ (error).message)));
  }
}

/** @param {typeof KINDS[number]} kind @param {any} set @param {Access} access @param {Messages} texts @param {(text: string) => void} failed */
function group(kind, set, access, texts, failed) {
  const rows = Object.entries(set[kind] ?? {}).flatMap(([key, value]) => {
    const keep = (/** @type {any} */ wanted) => exchange(access, "PUT", { __persistence_strategy__: "merge", [kind]: { [key]: wanted } });
    const ways = value?.channel_types;
    // A condition is on until it is switched off, and comes back as it was.
    if (!ways) return [row(nameOf(key), value !== false, (isOn) => keep(isOn && typeof value === "object" ? value : isOn), failed, texts)];
    return Object.keys(ways).map((way) => {
      const before = ways[way];
      const change = (/** @type {boolean} */ isOn) => {
        const wanted = isOn && typeof before === "object" ? before : isOn;
        return keep({ ...value, channel_types: { ...ways, [way]: wanted } }).then(() => (ways[way] = wanted));
      };
      return row(`${nameOf(key)}: ${nameOf(way)}`, before !== false, change, failed, texts);
    });
  });
  return rows.length ? h("fieldset", {}, h("legend", {}, texts[kind]), ...rows) : null;
}

/** @param {string} name @param {boolean} isOn @param {(isOn: boolean) => Promise<any>} change @param {(text: string) => void} failed @param {Messages} texts */
function row(name, isOn, change, failed, texts) {
  const box = h("input", { type: "checkbox", role: "switch", checked: isOn });
  box.addEventListener("change", () => change(box.checked).catch((error) => {
    box.checked = !box.checked;
    failed(fill(texts.failed, error.message));
  }));
  return h("label", { class: "switch" }, h("span", {}, name), box);
}

/** `new-comments` reads `New comments`. @param {string} key */
function nameOf(key) {
  const words = key.replace(/[-_]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
