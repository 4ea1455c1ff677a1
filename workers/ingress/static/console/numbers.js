// Numbers: state, since when and why, last signs, history.

import { getJson } from "./api.js";
import { address } from "./app.js";
import { h, redraw } from "./dom.js";
import { poll } from "./live.js";
import { organization as named, organizationField } from "./parts.js";
import { pager, table } from "./table.js";
import { count, duration, moment, number, phone, since } from "./words.js";

const EVERY_MS = 5000;
const STATES = {
  connected: ["Connected", "good"], degraded: ["Degraded", "warn"], starting: ["Starting", "warn"],
  paused: ["Paused", "warn"], resumed: ["Resumed", "good"],
  qr_issued: ["Waits for a scan", "warn"], disconnected: ["Disconnected", "bad"], error: ["Does not work", "bad"],
};
const FILTERS = [["", "Every state"], ["down", "Down"], ["degraded", "Degraded"], ["connecting", "Connecting"], ["connected", "Connected"]];

const REASONS = {
  "status polled": "the platform was asked", connected: "the phone was linked", qr: "a code was shown",
  paused: "its organization paused it", resumed: "its organization resumed it",
  started: "connecting was requested", disconnected: "the phone was unlinked",
};

/** Why, for people: an error as it was told, or the reason in words. */
const why = (row) => row.error || REASONS[row.reason] || row.reason || "–";
const tag = (status) => h("span", { className: "tag", "data-state": (STATES[status] || ["", "warn"])[1] }, (STATES[status] || [status])[0]);
const title = (row) => (row.phone ? phone(row.phone) : row.name);

function drawHistory(found) {
  const messages = Object.entries(found.messages).map(([status, amount]) => `${number(amount)} ${status}`).join(", ");
  return h("section", { className: "card", "aria-label": `Number ${title(found)}` },
    h("h2", {}, title(found)),
    h("p", { className: "muted" }, `Messages of the last hour: ${messages || "none"}`),
    h("p", {}, h("a", { href: address("lanes", { number: found.id }) }, "Why do its messages wait?")),
    h("ol", { className: "changes", "aria-label": "History" }, found.history.map((change) => h("li", {},
      h("time", { datetime: change.at }, moment(change.at)), tag(change.status), h("span", { className: "why" }, why(change))))));
}

export function show(main, place) {
  const { query } = place;
  let first = 0;
  const opened = h("div");
  const asked = { status: query.get("status") || "", organization: query.get("organization") || "" };
  const go = (changed) => { location.hash = address("numbers", { ...asked, ...changed }); };
  const status = h("select", { onchange: (event) => go({ status: event.target.value }) },
    FILTERS.map(([value, text]) => h("option", { value, selected: value === asked.status }, text)));
  const owner = organizationField("organization", asked.organization);
  const filter = h("form", { className: "filter", onsubmit: async (event) => {
    event.preventDefault();
    const id = await owner.read();
    if (id !== null) go({ organization: id });
  } },
    h("label", {}, "State", status), h("label", {}, "Organization", owner.element), h("button", {}, "Filter"));
  const open = async (id) => {
    const found = await getJson(`numbers/${id}`);
    redraw(opened, drawHistory(found));
    opened.scrollIntoView({ block: "nearest" });
  };
  const rows = table({
    label: "Numbers", empty: asked.status || asked.organization ? "No number matches." : "No numbers yet.",
    columns: [
      { title: "Number", cell: (row) => [h("span", { className: "big-phone" }, title(row)), h("span", { className: "minor" }, `${row.phone ? `${row.name}, ` : ""}account ${row.account}`)] },
      { title: "State", className: "short", cell: (row) => [tag(row.status), row.enabled ? "" : tag("paused"), h("span", { className: "minor" }, row.since ? `for ${duration((Date.now() - new Date(row.since)) / 1000)}` : "")] },
      { title: "Why", cell: why },
      { title: "Last signs", className: "short", cell: (row) => [h("span", { className: "minor" }, `last message: ${since(row.last_inbound_at)}`), h("span", { className: "minor" }, `last report: ${since(row.last_ack_at)}`)] },
      { title: "Organization", cell: (row) => named(row.organization_id, address("numbers", { ...asked, organization: row.organization_id })) },
      { title: "More", cell: (row) => h("div", { className: "row" },
        h("button", { type: "button", className: "small", "data-number": row.id, "aria-label": `History of ${title(row)}`, onclick: () => open(row.id) }, "History"),
        h("a", { href: address("lanes", { number: row.id }), "aria-label": `What waits of ${title(row)}` }, "What waits")) },
    ],
  });
  const turns = pager((cursor) => { first = cursor ?? 0; stop.now(); });
  const total = h("p", { className: "muted total", role: "status" });
  main.append(filter, total, opened, rows, turns);
  const stop = poll(() => getJson("numbers", { ...asked, first }), (found) => {
    total.textContent = count(found.total, "number");
    rows.show(found.items);
    turns.show({ first: first + 1, shown: found.items.length, total: found.total, next: found.next });
  }, EVERY_MS);
  return stop;
}
