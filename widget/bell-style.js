// The bell's looks. It follows the page's colour scheme; an embedder tunes it through the --bellwire-* properties.

const CSS = `
:host {
  --accent: var(--bellwire-accent, light-dark(#4f46e5, #8b8cf8));
  --ink: var(--bellwire-ink, light-dark(#1a1c23, #ececf1));
  --muted: var(--bellwire-muted, light-dark(#676b7a, #9a9eae));
  --ground: var(--bellwire-ground, light-dark(#ffffff, #1b1d24));
  --raised: var(--bellwire-raised, light-dark(#f5f5f8, #252831));
  --line: var(--bellwire-line, light-dark(#e6e7ec, #30333d));
  --alarm: var(--bellwire-alarm, light-dark(#d92d4a, #f0506a));
  --radius: var(--bellwire-radius, 14px);
  display: inline-block; position: relative; color: var(--ink);
  font: 14px/1.45 var(--bellwire-font, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
}
:host([hidden]) { display: none; }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([inline]) { display: flex; flex-direction: column; min-height: 0; background: var(--ground); }
* { box-sizing: border-box; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
svg { display: block; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linecap: round; stroke-linejoin: round; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.bar { display: flex; align-items: center; justify-content: space-between; gap: 12px; }
:host([inline]) .bar { padding: 10px 12px 10px 16px; border-bottom: 1px solid var(--line); }
.bell { position: relative; display: grid; place-items: center; width: 40px; height: 40px; border-radius: 12px; transition: background .15s; }
.bell:hover, .bell[aria-expanded="true"] { background: var(--raised); }
.bell.rings svg { animation: ring .7s ease-out; transform-origin: 50% 10%; }
.badge {
  position: absolute; top: 2px; right: 1px; min-width: 18px; height: 18px; padding: 0 5px; border-radius: 9px;
  background: var(--alarm); color: light-dark(#fff, #1b0a0e); box-shadow: 0 0 0 2px var(--ground);
  font-size: 11px; font-weight: 700; line-height: 18px; text-align: center; font-variant-numeric: tabular-nums;
}
.badge[hidden] { display: none; }

.panel {
  position: absolute; z-index: 1000; top: calc(100% + 8px); inset-inline-end: 0; width: min(380px, calc(100vw - 24px)); max-height: min(560px, 75vh);
  display: flex; flex-direction: column; overflow: hidden; background: var(--ground);
  border: 1px solid var(--line); border-radius: var(--radius); box-shadow: 0 16px 48px -12px rgb(15 16 30 / .28);
}
.panel[hidden] { display: none; }
.panel.rightward { right: auto; left: 0; }
:host([inline]) .panel { position: static; flex: 1; width: auto; max-height: none; min-height: 0; border: 0; border-radius: 0; box-shadow: none; }
.head { display: flex; align-items: center; justify-content: space-between; padding: 12px 12px 10px 16px; border-bottom: 1px solid var(--line); }
.head h2 { margin: 0; font-size: 15px; font-weight: 650; letter-spacing: -.01em; }
:host([inline]) .head { padding-block: 8px; }
:host([inline]) .head h2 { font-size: 13px; color: var(--muted); font-weight: 550; letter-spacing: 0; }
.quiet { padding: 4px 8px; border-radius: 8px; color: var(--accent); font-size: 13px; font-weight: 550; }
.quiet:hover { background: var(--raised); }
.quiet:disabled { color: var(--muted); opacity: .55; cursor: default; background: none; }

.note { display: flex; gap: 8px; align-items: center; padding: 7px 16px; font-size: 12.5px; background: var(--raised); color: var(--muted); border-bottom: 1px solid var(--line); }
.note[hidden] { display: none; }
.note::before { content: ""; flex: none; width: 7px; height: 7px; border-radius: 50%; background: light-dark(#d99a14, #e6b450); }
.note.bad::before { background: var(--alarm); }

.list { flex: 1; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--line) transparent; }
.item { position: relative; display: grid; grid-template-columns: 36px 1fr; gap: 0 12px; padding: 12px 16px; border-bottom: 1px solid var(--line); transition: background .15s; }
.item:last-of-type { border-bottom: 0; }
.item:hover { background: var(--raised); }
.item:focus-visible { outline-offset: -3px; border-radius: 12px; }
.item.arrives { animation: arrive .5s cubic-bezier(.2, .8, .2, 1), glow 2.4s ease-out; }
.face { width: 36px; height: 36px; border-radius: 50%; display: grid; place-items: center; overflow: hidden; font-size: 13px; font-weight: 650; background: var(--raised); color: var(--muted); }
.face img { width: 100%; height: 100%; object-fit: cover; }
.tone0 { background: light-dark(#e8e6fd, #37346a); color: light-dark(#4338ca, #c3c2ff); }
.tone1 { background: light-dark(#d9f2ea, #1c4a3f); color: light-dark(#0f766e, #9ce5d3); }
.tone2 { background: light-dark(#fdebd3, #513a1a); color: light-dark(#a35a07, #f5cf94); }
.tone3 { background: light-dark(#fce1e8, #56263a); color: light-dark(#b4235a, #f9b4ca); }
.tone4 { background: light-dark(#dcebfb, #1f3f5f); color: light-dark(#1d62a8, #a9d2fa); }
.body { min-width: 0; padding-inline-end: 18px; overflow-wrap: anywhere; }
.read .body { color: var(--muted); }
.body > .block > :first-child { margin-top: 0; }
.body > .block > :last-child { margin-bottom: 0; }
.block p, .block ul, .block ol, .block blockquote, .block pre { margin: 6px 0; }
.block :is(h1, h2, h3, h4, h5, h6) { font-size: 14px; margin: 6px 0; }
.block blockquote { padding-inline-start: 10px; border-inline-start: 2px solid var(--line); color: var(--muted); }
.block pre { padding: 8px 10px; overflow-x: auto; border-radius: 8px; background: var(--raised); }
.block code { font: 12.5px/1.4 ui-monospace, "SF Mono", Menlo, monospace; }
.block img { max-width: 100%; border-radius: 8px; }
.block a { position: relative; z-index: 1; color: var(--accent); text-underline-offset: 2px; }
.cover { position: absolute; inset: 0; border-radius: 10px; }
.actions { position: relative; z-index: 1; width: fit-content; display: flex; flex-wrap: wrap; gap: 8px; margin-top: 10px; }
.action { display: inline-block; padding: 5px 12px; border-radius: 8px; font-size: 13px; font-weight: 600; text-decoration: none; color: var(--ink); background: var(--ground); box-shadow: inset 0 0 0 1px var(--line); }
.action:hover { box-shadow: inset 0 0 0 1px var(--muted); }
.action.first { background: var(--accent); color: light-dark(#fff, #14142b); box-shadow: none; }
.action.first:hover { filter: brightness(1.08); }
.foot { margin-top: 4px; font-size: 12px; color: var(--muted); }
.dot { position: absolute; z-index: 1; top: 11px; inset-inline-end: 10px; width: 22px; height: 22px; display: grid; place-items: center; border-radius: 50%; }
.dot::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--accent); transition: transform .15s; }
.dot:hover::before { transform: scale(1.3); }
.read .dot::before { background: none; box-shadow: inset 0 0 0 1.5px var(--muted); }
.archive { position: absolute; z-index: 1; bottom: 9px; inset-inline-end: 8px; width: 26px; height: 26px; display: grid; place-items: center; border-radius: 7px; color: var(--muted); }
.archive:hover { color: var(--ink); background: var(--line); }
@media (hover: hover) {
  .archive, .read .dot { opacity: 0; }
  .item:is(:hover, :focus-within) :is(.archive, .dot) { opacity: 1; }
}
.more { display: block; width: 100%; padding: 12px; color: var(--accent); font-size: 13px; font-weight: 550; }
.more[hidden] { display: none; }
.empty { display: grid; place-items: center; align-content: center; gap: 4px; min-height: 220px; height: 100%; padding: 24px; text-align: center; color: var(--muted); }
.empty[hidden] { display: none; }
.empty svg { margin-bottom: 8px; opacity: .6; }
.empty strong { color: var(--ink); font-weight: 600; }
.ghost { display: grid; grid-template-columns: 36px 1fr; gap: 6px 12px; padding: 14px 16px; }
.ghost i { height: 10px; border-radius: 5px; background: var(--raised); animation: breathe 1.4s ease-in-out infinite alternate; }
.ghost i:first-child { grid-row: span 2; height: 36px; border-radius: 50%; }
.ghost i:last-child { width: 45%; }
.ghosts[hidden] { display: none; }
@keyframes ring { 15% { rotate: 14deg } 35% { rotate: -12deg } 55% { rotate: 8deg } 75% { rotate: -4deg } }
@keyframes arrive { from { opacity: 0; translate: 0 -10px } }
@keyframes glow { from { background: color-mix(in srgb, var(--accent) 16%, var(--ground)) } }
@keyframes breathe { to { opacity: .45 } }
@media (prefers-reduced-motion: reduce) { *, *::before { animation: none !important; transition: none !important; } }
`;

/** @type {CSSStyleSheet|undefined} */ let sheet;

/** One sheet for every bell of the page. */
export function bellStyle() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
