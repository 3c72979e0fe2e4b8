// What a bell does beside its badge when something arrives: a toast, a chime, a notification of the browser.

const TOAST_MS = 7_000;
const MOST_TOASTS = 3;

/** Shows a toast in `stack`; it waits while it is pointed at or has the focus. @param {HTMLElement} stack @param {HTMLElement} toast */
export function showToast(stack, toast) {
  /** @type {any} */ let timer;
  const stay = () => clearTimeout(timer);
  const go = () => (stay(), (timer = setTimeout(() => toast.remove(), TOAST_MS)));
  for (const [on, act] of /** @type {[string, () => void][]} */ ([["pointerenter", stay], ["pointerleave", go], ["focusin", stay], ["focusout", go]])) toast.addEventListener(on, act);
  stack.prepend(toast);
  while (stack.children.length > MOST_TOASTS) stack.lastElementChild?.remove();
  go();
}

const CHIME_MS = 1_000;
let chimedAt = -CHIME_MS;

/** Two soft tones, or the sound at an address. Browsers keep silent until the page has been touched. @param {string} [source] */
export async function chime(source) {
  // What comes together is heard once.
  if (performance.now() - chimedAt < CHIME_MS) return;
  chimedAt = performance.now();
  try {
    if (source) return await new Audio(source).play();
    if (navigator.userActivation?.hasBeenActive === false) return;
    const audio = new AudioContext();
    const volume = audio.createGain();
    volume.connect(audio.destination);
    [880, 1174.7].forEach((frequency, at) => {
      const tone = audio.createOscillator();
      tone.frequency.value = frequency;
      tone.connect(volume);
      tone.start(audio.currentTime + at * 0.12);
      tone.stop(audio.currentTime + 0.5);
    });
    volume.gain.setValueAtTime(0.08, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.0001, audio.currentTime + 0.5);
    setTimeout(() => audio.close(), 1_000);
  } catch {
    // Not allowed before a gesture.
  }
}

/** Whether this browser could notify, if it were asked. */
export function mayAsk() {
  return typeof Notification !== "undefined" && Notification.permission === "default";
}

/** A notification of the browser, where it is allowed. @param {string} title @param {string} body @param {string} tag @param {() => void} open */
export function notify(title, body, tag, open) {
  if (typeof Notification === "undefined" || Notification.permission !== "granted") return;
  try {
    const shown = new Notification(title, { body, tag });
    shown.onclick = () => {
      window.focus();
      shown.close();
      open();
    };
  } catch {
    // Some phones notify from service workers only.
  }
}
