// The history of a number: all its states, the newest first, live while it is open, older ones on demand.

import * as api from "./api.js";
import { formatTime, translate, translateCause, translateState } from "./words.js";

const PAGE = 30;

const nameOf = (row) => `${row.at} ${row.status} ${row.reason}`;

export class History {
  constructor(root, button) {
    this.root = root;
    this.button = button;
    this.rows = [];
    this.complete = false;
    root.querySelector("button").addEventListener("click", () => this.loadOlder());
  }

  get open() { return !this.root.hidden; }

  async toggle(number) {
    this.root.hidden = this.open;
    this.button.setAttribute("aria-expanded", String(this.open));
    this.version = null;
    if (this.open) this.update(number);
  }

  /** Read what is new about a number, if its state has changed since the last time. */
  update(number) {
    const version = [number.status, number.status_at, number.cause, number.error_at, number.is_enabled].join(" ");
    this.id = number.integration_id;
    if (!this.open || version === this.version) return;
    this.version = version;
    this.load(null);
  }

  /** Rows of the same millisecond are asked for twice, so that none is left out between two pages. */
  loadOlder() {
    const oldest = new Date(this.rows.at(-1).at);
    return this.load(new Date(oldest.getTime() + 1).toISOString());
  }

  async load(until) {
    let found;
    try { found = await api.history(this.id, PAGE, until); } catch { this.version = null; return; }
    const all = until ? [...this.rows, ...found] : [...found, ...this.rows];
    const known = new Map(all.map((row) => [nameOf(row), row]));
    const overlaps = found.some((row) => this.rows.some((each) => nameOf(each) === nameOf(row)));
    // More than a page of news leaves a gap: begin again.
    this.rows = until || overlaps || !this.rows.length ? [...known.values()] : found;
    this.rows.sort((a, b) => new Date(b.at) - new Date(a.at));
    if (until || !overlaps) this.complete = found.length < PAGE;
    this.render();
  }

  render() {
    this.root.querySelector("ol").replaceChildren(...this.rows.map(showRow));
    this.root.querySelector("p").hidden = this.rows.length > 0;
    this.root.querySelector("button").hidden = this.complete || !this.rows.length;
  }
}

function showRow(row) {
  const item = document.createElement("li");
  item.dataset.status = row.status;
  item.dataset.cause = row.cause;
  const [status, reason, time] = ["b", "span", "time"].map((tag) => document.createElement(tag));
  status.textContent = translateCause(row.cause, "badge") || translateState(row.status);
  reason.textContent = translateCause(row.cause, "brief") || row.reason;
  time.textContent = formatTime(row.at);
  time.dateTime = row.at;
  item.append(status, reason, time);
  if (row.error) {
    const detail = document.createElement("small");
    detail.textContent = translate("technical", { text: row.error });
    item.append(detail);
  }
  return item;
}
