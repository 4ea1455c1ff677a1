// Words in the language of the page.

import { TEXTS } from "./texts.js";

const STORAGE_KEY = "wpp-language";
let current = detectLanguage();

function detectLanguage() {
  const requested = new URLSearchParams(location.search).get("lang") || storedLanguage() || navigator.language;
  return requested.toLowerCase().startsWith("ru") ? "ru" : "en";
}

/** In a frame of another site the browser may deny access to the storage. */
function storedLanguage() {
  try { return localStorage.getItem(STORAGE_KEY); } catch { return null; }
}

export const language = () => current;

export function setLanguage(value) {
  current = value;
  try { localStorage.setItem(STORAGE_KEY, value); } catch { /* used until the page is closed */ }
}

/** Return a text in the current language; `values` fill its placeholders, and `n` selects its plural. */
export function translate(key, values = {}) {
  let text = TEXTS[current][key] ?? key;
  if (typeof text === "object") text = text[new Intl.PluralRules(current).select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Return the word for a state of a number. */
export const translateState = (status) => TEXTS[current].states[status] ?? status;

/** Return what a cause says: `badge`, `text` or `brief`; "" where it has none. A cause that this
 *  page does not know, because the server is newer, says nothing. */
export const translateCause = (cause, part) => TEXTS[current].causes[cause]?.[part] ?? "";

/** Return why a message failed, by the code that the API gives. */
export const translateFailure = (code) => TEXTS[current].failures[code] ?? TEXTS[current].failures.failed;

/** Translate the static elements below `root`: data-text is their content, data-label their name. */
export function translateElements(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = translate(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", translate(element.dataset.label));
}

/** Return how long ago a time was: "5 minutes ago". */
export function formatAge(time) {
  const seconds = Math.round((new Date(time) - Date.now()) / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, each]) => Math.abs(seconds) >= each) ?? units[3];
  return new Intl.RelativeTimeFormat(current, { numeric: "auto" }).format(Math.min(0, Math.round(seconds / size)), unit);
}

export const formatTime = (time) => new Date(time).toLocaleString(current, { dateStyle: "short", timeStyle: "medium" });

/** Return a phone with its parts apart: +7 999 000 11 22. Plans of other lengths are not taken apart. */
export const formatPhone = (digits) =>
  `+${digits.replace(/^([17])(\d{3})(\d{3})(\d{2})(\d{2})$/, "$1 $2 $3 $4 $5")}`;
