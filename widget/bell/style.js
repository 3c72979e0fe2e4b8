// The looks of what opens behind the bell, in the colours of the bell.

export const STYLE = `
.panel {
  position: absolute; z-index: 1000; top: calc(100% + 8px); inset-inline-end: 0; width: min(400px, calc(100vw - 24px)); height: min(600px, 76vh);
  display: flex; flex-direction: column; overflow: hidden; background: var(--ground); outline: 0;
  border: 1px solid var(--line); border-radius: var(--radius); box-shadow: 0 16px 48px -12px rgb(15 16 30 / .28);
}
.panel.startward { inset-inline: 0 auto; }
.main { display: flex; flex-direction: column; flex: 1; min-height: 0; }
:host([inline]) .panel { position: relative; z-index: 0; top: 0; flex: 1; width: auto; height: auto; min-height: 0; border: 0; border-radius: 0; box-shadow: none; }
:host([inline]) .close { display: none; }
.head { display: flex; align-items: center; gap: 2px; padding: 10px 10px 8px 16px; }
.head:dir(rtl) { padding: 10px 16px 8px 10px; }
.head h2 { flex: 1; margin: 0; font-size: 16px; font-weight: 650; letter-spacing: -.01em; }
.plain { flex: none; display: grid; place-items: center; width: 32px; height: 32px; border-radius: 9px; color: var(--muted); }
.plain:not(:disabled):hover { background: var(--raised); color: var(--ink); }
.back:dir(rtl) svg { scale: -1 1; }
.tabs { display: flex; gap: 4px; padding: 0 12px; border-bottom: 1px solid var(--line); overflow-x: auto; scrollbar-width: none; }
.tab { flex: none; padding: 7px 6px 9px; border-bottom: 2px solid transparent; font-size: 13px; font-weight: 550; color: var(--muted); }
.tab:hover { color: var(--ink); }
.tab:focus-visible { outline-offset: -3px; border-radius: 8px; }
.tab[aria-selected="true"] { color: var(--ink); border-color: var(--accent); }
.count { margin-inline-start: 6px; padding: 1px 6px; border-radius: 8px; background: var(--raised); font-size: 11px; font-variant-numeric: tabular-nums; }
.count:empty { display: none; }
.quiet { padding: 5px 9px; border-radius: 8px; color: var(--accent); font-size: 13px; font-weight: 600; }
.quiet:hover { background: color-mix(in srgb, var(--accent) 12%, transparent); }

.note, .bulk { display: flex; gap: 8px; align-items: center; padding: 7px 16px; font-size: 12.5px; background: var(--raised); color: var(--muted); border-bottom: 1px solid var(--line); }
.note::before { content: ""; flex: none; width: 7px; height: 7px; border-radius: 50%; background: light-dark(#b97f05, #e6b450); }
.note.bad::before { background: var(--alarm); }
.bulk { padding-block: 3px; padding-inline-end: 8px; background: color-mix(in srgb, var(--accent) 10%, var(--ground)); color: var(--ink); }
.bulk span { flex: 1; }
.allow { margin: 8px 12px 0; padding: 8px; border-radius: 10px; background: var(--raised); color: var(--accent); font-weight: 600; font-size: 13px; }

.list { flex: 1; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--line) transparent; outline-offset: -2px; }
.item { position: relative; display: grid; grid-template-columns: 36px 1fr; gap: 0 12px; padding: 12px 16px; border-bottom: 1px solid var(--line); transition: background .15s; }
.item:hover { background: var(--raised); }
.item:focus-visible { outline-offset: -3px; border-radius: 12px; }
.item.chosen { background: color-mix(in srgb, var(--accent) 10%, var(--ground)); }
.item.arrives { animation: arrive .5s cubic-bezier(.2, .8, .2, 1), glow 2.4s ease-out; }
.choose { position: relative; z-index: 2; width: 36px; height: 36px; border-radius: 50%; }
.face { width: 36px; height: 36px; border-radius: 50%; display: grid; place-items: center; overflow: hidden; font-size: 13px; font-weight: 650; background: var(--raised); color: var(--muted); }
.face img { width: 100%; height: 100%; object-fit: cover; }
.tick { position: absolute; inset: 0; display: grid; place-items: center; border-radius: 50%; background: var(--accent); color: var(--on-accent); opacity: 0; transition: opacity .12s; }
.chosen .tick { opacity: 1; }
@media (hover: hover) { .choose:hover .tick { opacity: .85; } }
.tone { background: light-dark(oklch(.93 .04 var(--tone)), oklch(.36 .07 var(--tone))); color: light-dark(oklch(.42 .14 var(--tone)), oklch(.89 .07 var(--tone))); }
.tone::before { content: attr(data-initials); }
.tone:has(svg)::before { content: none; }
.body { position: relative; z-index: 1; pointer-events: none; min-width: 0; padding-inline-end: 26px; overflow-wrap: anywhere; }
.read .body { color: var(--muted); }
.block > :first-child { margin-top: 0; }
.block > :last-child { margin-bottom: 0; }
.block p, .block ul, .block ol, .block blockquote, .block pre { margin: 6px 0; }
.block :is(ul, ol) { padding-inline-start: 20px; }
.block :is(h1, h2, h3, h4, h5, h6) { font-size: 14px; margin: 6px 0; }
.block blockquote { padding-inline-start: 10px; border-inline-start: 2px solid var(--line); color: var(--muted); }
.block pre { padding: 8px 10px; overflow-x: auto; border-radius: 8px; background: var(--raised); }
.block code { font: 12.5px/1.4 ui-monospace, "SF Mono", Menlo, monospace; }
.block img { max-width: 100%; border-radius: 8px; }
.block a { pointer-events: auto; color: var(--accent); text-underline-offset: 2px; }
.cover { position: absolute; inset: 0; border-radius: 10px; }
.actions { pointer-events: auto; width: fit-content; display: flex; flex-wrap: wrap; gap: 8px; margin-top: 10px; }
.action { display: inline-block; padding: 5px 12px; border-radius: 8px; font-size: 13px; font-weight: 600; text-decoration: none; color: var(--ink); background: var(--ground); box-shadow: inset 0 0 0 1px var(--line); }
.action:hover { box-shadow: inset 0 0 0 1px var(--muted); }
.action.first { background: var(--accent); color: var(--on-accent); box-shadow: none; }
.action.first:hover { filter: brightness(1.08); }
.time { margin-top: 4px; font-size: 12px; color: var(--muted); }
.dot, .archive { position: absolute; z-index: 1; inset-inline-end: 8px; width: 26px; height: 26px; display: grid; place-items: center; border-radius: 8px; color: var(--muted); }
.dot { top: 9px; }
.dot::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--accent); }
.read .dot::before { background: none; box-shadow: inset 0 0 0 1.5px var(--muted); }
.archive { bottom: 9px; }
:is(.dot, .archive):hover { color: var(--ink); background: var(--line); }
@media (hover: hover) {
  .archive, .read .dot { opacity: 0; }
  .item:is(:hover, :focus-within) :is(.archive, .dot) { opacity: 1; }
}
.more { display: block; width: 100%; padding: 12px; color: var(--accent); font-size: 13px; font-weight: 550; }
.more.waits { color: transparent; }
.hint { margin: 0; padding: 24px; text-align: center; color: var(--muted); }
.empty { display: grid; place-items: center; align-content: center; gap: 4px; min-height: 220px; height: 100%; padding: 24px; text-align: center; color: var(--muted); }
.empty svg { margin-bottom: 8px; opacity: .6; }
.empty strong { color: var(--ink); font-weight: 600; }
.ghost { display: grid; grid-template-columns: 36px 1fr; gap: 6px 12px; padding: 14px 16px; }
.ghost i { height: 10px; border-radius: 5px; background: var(--raised); animation: breathe 1.4s ease-in-out infinite alternate; }
.ghost i:first-child { grid-row: span 2; height: 36px; border-radius: 50%; }
.ghost i:last-child { width: 45%; }

fieldset { margin: 0; padding: 10px 16px; border: 0; }
legend { padding: 8px 0 2px; font-size: 12px; font-weight: 650; color: var(--muted); }
.switch { display: flex; align-items: center; justify-content: space-between; gap: 12px; padding: 8px 0; cursor: pointer; }
.switch input { appearance: none; flex: none; position: relative; width: 36px; height: 22px; margin: 0; border-radius: 11px; background: var(--muted); cursor: pointer; transition: background .15s; }
.switch input::before { content: ""; position: absolute; inset-block-start: 3px; inset-inline-start: 3px; width: 16px; height: 16px; border-radius: 50%; background: var(--ground); transition: inset-inline-start .15s; }
.switch input:checked { background: var(--accent); }
.switch input:checked::before { inset-inline-start: 17px; }

.snack { position: absolute; z-index: 3; inset: auto 12px 12px; display: flex; align-items: center; gap: 8px; padding: 6px 8px 6px 14px; border-radius: 12px; background: light-dark(#23252e, #e9e9ee); color: light-dark(#fff, #1a1c23); font-size: 13px; box-shadow: 0 8px 24px -8px rgb(15 16 30 / .5); animation: arrive .2s ease-out; }
.snack span { flex: 1; }
.snack .quiet { color: light-dark(#c3c2ff, #4338ca); }
.toasts { position: fixed; z-index: 1001; inset: auto 16px 16px auto; width: min(340px, calc(100vw - 32px)); display: grid; gap: 8px; }
.toasts:dir(rtl) { inset: auto auto 16px 16px; }
.toast { display: flex; gap: 12px; align-items: center; padding: 12px; border: 1px solid var(--line); border-radius: var(--radius); background: var(--ground); box-shadow: 0 16px 48px -12px rgb(15 16 30 / .35); animation: arrive .3s cubic-bezier(.2, .8, .2, 1); }
.toast-text { flex: 1; min-width: 0; text-align: start; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
@keyframes arrive { from { opacity: 0; translate: 0 -10px } }
@keyframes glow { from { background: color-mix(in srgb, var(--accent) 16%, var(--ground)) } }
@keyframes breathe { to { opacity: .45 } }
@media (max-width: 480px) { :host(:not([inline])) .panel { position: fixed; inset: 0; width: auto; height: auto; border: 0; border-radius: 0; } }
@media (forced-colors: active) {
  .dot::before, .switch input:checked, .tick { background: Highlight; }
  .read .dot::before, .switch input, .action, .count { border: 1px solid; }
  .tab { border-color: Canvas; }
  .tab[aria-selected="true"] { border-color: Highlight; }
}
`;
