// The bell's looks. It follows the page's colour scheme; an embedder tunes it through the --bellwire-* properties.

export const STYLE = `
:host {
  --accent: var(--bellwire-accent, light-dark(#4f46e5, #a5a6fb));
  --on-accent: var(--bellwire-on-accent, light-dark(#fff, #14142b));
  --ink: var(--bellwire-ink, light-dark(#1a1c23, #ececf1));
  --muted: var(--bellwire-muted, light-dark(#5d6170, #a3a7b6));
  --ground: var(--bellwire-ground, light-dark(#ffffff, #1b1d24));
  --raised: var(--bellwire-raised, light-dark(#f4f4f7, #262933));
  --line: var(--bellwire-line, light-dark(#e3e4ea, #343743));
  --alarm: var(--bellwire-alarm, light-dark(#c81e3f, #ff7b92));
  --on-alarm: var(--bellwire-on-alarm, light-dark(#fff, #2b0610));
  --radius: var(--bellwire-radius, 14px);
  display: inline-block; position: relative; color: var(--ink);
  font: 14px/1.45 var(--bellwire-font, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
}
:host([hidden]), [hidden] { display: none !important; }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([inline]) { display: flex; flex-direction: column; min-height: 0; background: var(--ground); }
:host([inline]) .frame { display: flex; flex-direction: column; flex: 1; min-height: 0; }
* { box-sizing: border-box; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
button:disabled { opacity: .4; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
svg { display: block; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linecap: round; stroke-linejoin: round; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.bar { display: flex; align-items: center; justify-content: space-between; gap: 12px; }
:host([inline]) .bar { padding: 10px 12px 10px 16px; border-bottom: 1px solid var(--line); }
.bell { position: relative; display: grid; place-items: center; width: 40px; height: 40px; border-radius: 12px; transition: background .15s; }
.bell:hover, .bell[aria-expanded="true"] { background: var(--raised); }
.bell.rings svg { animation: ring .7s ease-out; transform-origin: 50% 10%; }
.badge {
  position: absolute; top: 2px; inset-inline-end: 1px; min-width: 18px; height: 18px; padding: 0 5px; border-radius: 9px;
  background: var(--alarm); color: var(--on-alarm); box-shadow: 0 0 0 2px var(--ground);
  font-size: 11px; font-weight: 700; line-height: 18px; text-align: center; font-variant-numeric: tabular-nums;
}
@keyframes ring { 15% { rotate: 14deg } 35% { rotate: -12deg } 55% { rotate: 8deg } 75% { rotate: -4deg } }
@media (prefers-reduced-motion: reduce) { *, *::before { animation: none !important; transition: none !important; } }
@media (forced-colors: active) { .badge { border: 1px solid; line-height: 16px; } }
`;
