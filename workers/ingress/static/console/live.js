// Keeps a page up to date, and says since when it is not.

import { clockTime } from "./words.js";

const EVERY_MS = 3000;
const PATIENCE_MS = 20000;

let answered = new Date();
let lost = false;

function tell(error) {
  const notice = document.getElementById("lost");
  const live = document.getElementById("live");
  lost = error !== null;
  live.textContent = lost ? "Not live" : "Live";
  live.dataset.lost = lost;
  notice.hidden = !lost;
  if (!lost) { answered = new Date(); return; }
  const why = error.status ? error.message : "The server cannot be reached.";
  const text = `No news since ${clockTime(answered)}: what you see is from then. ${why} Trying again …`;
  if (notice.textContent !== text) notice.textContent = text;
}

/** Say nothing any more: the next page is up to date by itself, or is read once. */
export function leave() {
  document.getElementById("live").textContent = "";
  document.getElementById("lost").hidden = true;
}

/** Read now and every few seconds, while the page is looked at. Returns a function that stops, and `now` on it. */
export function poll(read, draw, everyMs = EVERY_MS) {
  let stopped = false;
  let timer = null;
  let turn = 0;
  async function look() {
    clearTimeout(timer);
    const mine = ++turn;
    try {
      const found = await within(read());
      if (stopped || mine !== turn) return;
      tell(null);
      draw(found);
    } catch (error) {
      if (stopped || mine !== turn) return;
      if (error.status === 401) return;
      tell(error);
      if (!error.status && !(error instanceof TypeError) && error.name !== "TimeoutError") throw error;
    } finally {
      if (!stopped && mine === turn && !document.hidden) timer = setTimeout(look, everyMs);
    }
  }
  const wake = () => (document.hidden ? clearTimeout(timer) : look());
  document.addEventListener("visibilitychange", wake);
  look();
  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
  };
  stop.now = look;
  return stop;
}

function within(promise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new DOMException("The server does not answer.", "TimeoutError")), PATIENCE_MS));
  return Promise.race([promise, late]);
}
