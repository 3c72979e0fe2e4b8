// Builds elements without markup, so that no text can become an element.

/**
 * @param {string} name
 * @param {Record<string, any>} [props] properties; a name with a dash, `role` or `class` is set as an attribute; `part` is a class, too
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
export function h(name, props = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(name));
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (key === "part") element.part = value, element.classList.add(value);
    else if (key === "class" && value) element.classList.add(...value.split(" "));
    else if (key.includes("-") || key === "role") element.setAttribute(key, String(value));
    else element[key] = value;
  }
  element.append(...children.filter((child) => child || child === ""));
  return element;
}

/** A line drawing. @param {number} size @param {...string} paths */
export function icon(size, ...paths) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true" })) {
    svg.setAttribute(key, String(value));
  }
  for (const d of paths) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** How long ago, in the reader's language. @param {string} time @param {number} now @param {string} [locale] */
export function ago(time, now, locale) {
  const seconds = Math.min(0, (Date.parse(time) - now) / 1000);
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "narrow" });
  if (seconds > -45) return format.format(0, "second");
  /** @type {[Intl.RelativeTimeFormatUnit, number][]} */
  const units = [["minute", 60], ["hour", 3600], ["day", 86_400], ["week", 604_800], ["month", 2_629_800], ["year", 31_557_600]];
  const [unit, size] = units.findLast(([, size]) => -seconds >= size * 0.95) ?? units[0];
  return format.format(Math.round(seconds / size), unit);
}

/** One style sheet of this text for the whole page, made when it is wanted first. @param {string} css */
export function sheet(css) {
  /** @type {CSSStyleSheet|undefined} */ let made;
  return () => {
    if (!made) {
      made = new CSSStyleSheet();
      made.replaceSync(css);
    }
    return made;
  };
}
