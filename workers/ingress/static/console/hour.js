// The last hour on the page Overview: a chart for each kind of event, and the organizations.

import { address } from "./app.js";
import { chart, key, peak, spark, total } from "./charts.js";
import { h, redraw } from "./dom.js";
import { organization } from "./parts.js";
import { table } from "./table.js";
import { KINDS, clockTime, duration, number } from "./words.js";

const DONE = { send: "sent", webhook: "handled", callback: "posted" };
const LATE_S = 300;

const last = (values) => values.findLast((value) => value !== null) ?? null;
const rate = (value) => (value === null ? "–" : `${number(value >= 10 ? Math.round(value) : Math.round(value * 10) / 10)} / min`);
const whole = (values) => number(Math.round(total(values)));

/** Whether anything of a kind happened, or waits. */
const isQuiet = (kind) => !["accepted", "done", "failed", "unknown", "waiting"].some((name) => peak(kind[name]) > 0);

function drawKind(name, kind) {
  const done = DONE[name];
  const counts = [`${whole(kind.accepted)} accepted`, done && `${whole(kind.done)} ${done}`, total(kind.failed) && `${whole(kind.failed)} failed`, total(kind.unknown) && `${whole(kind.unknown)} unknown`].filter(Boolean);
  const oldest = last(kind.oldest_s) ?? 0;
  const waiting = last(kind.waiting) ?? 0;
  const said = `${KINDS[name]} in the last hour: ${counts.join(", ")}. ${rate(last(kind.accepted))} accepted now, ${rate(peak(kind.accepted))} at most.`;
  return h("article", { className: "card chart" },
    h("header", {}, h("h3", {}, KINDS[name]), h("span", { className: "now" }, rate(last(kind.accepted)))),
    chart(said, kind.accepted, done ? kind.done : null),
    h("footer", {}, h("span", {}, "60 min ago"), h("span", {}, `at most ${rate(peak(kind.accepted))}`), h("span", {}, "now")),
    h("p", { className: "keys" }, key("accepted"), done ? key(done, true) : ""),
    h("p", { className: "minor" }, counts.join(", ")),
    h("p", { className: "age", "data-late": oldest >= LATE_S },
      h("span", {}, waiting ? `${number(waiting)} wait, the oldest for ${duration(oldest)}` : "Nothing waits"),
      spark(`Age of the oldest: ${duration(oldest)} now, ${duration(peak(kind.oldest_s))} at most.`, kind.oldest_s)));
}

const linked = (value, page, id) => (value && id ? h("a", { href: address(page, page === "lanes" ? { organization: id } : { organization_id: id }) }, number(value)) : value === null ? "–" : number(value));

function makeTable() {
  return table({
    label: "Organizations in the last hour",
    empty: "No organization sent a message in the last hour, and none waits.",
    columns: [
      { title: "Organization", cell: (row) => h("span", { className: "strong" }, row.id ? organization(row.id, address("search", { text: row.id })) : "All others") },
      { title: "Failed", className: "amount", cell: (row) => linked(row.failed, "dead-letters", row.id) },
      { title: "Unknown", className: "amount", cell: (row) => linked(row.unknown, "unknown", row.id) },
      { title: "Waiting", className: "amount", cell: (row) => linked(row.waiting, "lanes", row.id) },
      { title: "Oldest", className: "amount", cell: (row) => (row.waiting ? h("span", { className: "tag", "data-state": row.oldest_s >= LATE_S ? "bad" : "" }, duration(row.oldest_s)) : "–") },
      { title: "Sent last minute", className: "amount", cell: (row) => (row.last_minute === null || row.last_minute === undefined ? "–" : number(row.last_minute)) },
      { title: "Sent in the hour", className: "amount", cell: (row) => number(row.sent) },
      { title: "By minute", cell: (row) => (row.by_minute ? spark(`Sent by minute: ${number(row.sent)} in the hour, at most ${number(peak(row.by_minute))} in a minute.`, row.by_minute) : "") },
    ],
  });
}

/** The section, with `show(found)` for what /console/data/hour answers. */
export function makeHour() {
  const charts = h("div", { className: "charts" });
  const said = h("p", { className: "muted" });
  const quiet = h("p", { className: "muted quiet-kinds" });
  const rows = makeTable();
  const element = h("div", {},
    h("section", { "aria-label": "The last hour" }, h("h2", {}, "The last hour"), said, charts, quiet),
    h("section", {}, h("h2", {}, "Organizations"), h("p", { className: "muted" }, "Messages of the last hour. What hurts comes first: failed, unknown, or waiting for long."), rows));
  element.show = (found) => {
    const shown = Object.entries(found.kinds).filter(([, kind]) => !isQuiet(kind));
    const silent = Object.keys(found.kinds).filter((name) => isQuiet(found.kinds[name])).map((name) => KINDS[name].toLowerCase());
    const text = found.last ? `Minute by minute, until ${clockTime(new Date(found.last))}.` : "No minute is counted yet: the clock adds the first within a minute.";
    if (said.textContent !== text) said.textContent = text;
    redraw(charts, shown.map(([name, kind]) => drawKind(name, kind)));
    redraw(quiet, silent.length && found.last ? `Nothing happened: ${silent.join(", ")}.` : "");
    const { others } = found;
    const isAny = ["sent", "failed", "unknown", "accepted", "waiting"].some((name) => others[name] > 0);
    rows.show(isAny ? [...found.organizations, others] : found.organizations);
  };
  return element;
}
