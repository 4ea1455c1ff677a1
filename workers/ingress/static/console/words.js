// How the console says times, counts, states and names.

export const number = (value) => Number(value).toLocaleString("en-US");
export const count = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;

/** A duration as people say it: 40 s, 12 min, 3 h, 5 d. */
export function duration(seconds) {
  for (const [limit, divisor, unit] of [[100, 1, "s"], [6000, 60, "min"], [172800, 3600, "h"]]) {
    if (seconds < limit) return `${Math.max(0, Math.round(seconds / divisor))} ${unit}`;
  }
  return `${number(Math.round(seconds / 86400))} d`;
}

export const clockTime = (date) => date.toLocaleTimeString("en-GB");
export const moment = (text) => new Date(text).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const since = (text) => (text ? `${duration((Date.now() - new Date(text)) / 1000)} ago` : "never");

export const KINDS = { send: "Messages", webhook: "Webhooks", provision: "Connecting", media: "Files", callback: "Callbacks" };

/** +7 999 123 45 67, as the page of numbers writes it. */
export function phone(digits) {
  const found = /^(\d{1,3}?)(\d{3})(\d{3})(\d{2})(\d{2})$/.exec(digits || "");
  return digits ? (found ? `+${found.slice(1).join(" ")}` : `+${digits}`) : "";
}
