// Webhooks: what the platform sent, what became of it, and what was not understood.

import { getJson, postJson } from "./api.js";
import { askTwice } from "./dialog.js";
import { h } from "./dom.js";
import { filterForm, when, whose } from "./parts.js";
import { pager, table } from "./table.js";
import { toast } from "./toast.js";
import { count, number } from "./words.js";

const FIELDS = [
  { name: "event_type", label: "Type", placeholder: "message, message.status …" },
  { name: "became", label: "Became", placeholder: "message, dead, unknown …" },
  { name: "account", label: "Account" },
  { name: "organization_id", label: "Organization" },
  { name: "since", label: "Since", type: "datetime-local" },
  { name: "id", label: "Id" },
];
const STATES = { dead: "bad", unknown: "warn", unknown_status: "warn", no_ids: "warn", no_peer: "warn", no_text: "warn" };

const sample = (value) => h("details", {}, h("summary", {}, "Form"), h("pre", { tabindex: "0" }, JSON.stringify(value, null, 1)));
const result = (became) => h("span", { className: "tag", "data-state": STATES[became] || "" }, became.replaceAll("_", " "));

export function show(main, place) {
  let cursor = null;
  let first = 1;
  const form = filterForm("webhooks", FIELDS, place.query);
  const rows = table({
    label: "Webhooks",
    empty: "No webhooks.",
    columns: [
      { title: "When", className: "short", cell: (event) => when(event.at) },
      { title: "Type", cell: (event) => [h("span", { className: "strong" }, event.event_type), h("span", { className: "minor" }, event.id)] },
      { title: "Whose", cell: (event) => whose(event) },
      { title: "Became", cell: (event) => [result(event.became), event.error ? h("span", { className: "minor" }, event.error) : "", sample(event.sample)] },
      { title: "", className: "actions", cell: (event) => h("button", { type: "button", className: "small", onclick: () => replay(event) }, "Apply again") },
    ],
  });
  const pages = pager((next) => { first = next ? first + 50 : 1; cursor = next; load(); });
  const shapes = h("section", {}, h("h2", {}, "Not understood"), h("p", { className: "muted" }, "By type, the most frequent first; values are masked. After an upgrade, applying them again files what is understood by now."));
  const unrecognized = table({
    label: "Not understood",
    empty: "Every webhook was understood.",
    columns: [
      { title: "How many", className: "amount", cell: (each) => number(each.events) },
      { title: "Type", cell: (each) => h("span", { className: "strong" }, each.event_type) },
      { title: "Result", cell: (each) => result(each.became) },
      { title: "Last", className: "short", cell: (each) => when(each.last_at) },
      { title: "Form", cell: (each) => sample(each.sample) },
    ],
  });
  shapes.append(unrecognized);
  main.append(form, rows, pages, shapes);

  async function replay(event) {
    const agreed = await askTwice({ title: `Apply this ${event.event_type} again?`, text: "What it says is written once more. What is written already does not change; files and pairing codes are not restored.", verb: "Apply again" });
    if (!agreed) return;
    try {
      const done = await postJson("webhooks/replay", { ids: [event.id] });
      const parts = [`${count(done.applied, "result")} applied`, done.skipped && `${done.skipped} skipped: the log has too little of it`, done.refused && `${done.refused} refused by Supabase`, done.set_aside && `${done.set_aside} wait`, done.unrecognized && "it is not understood yet"];
      toast(`${parts.filter(Boolean).join(", ")}.`, done.refused ? "bad" : "good");
      load();
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  function load() {
    getJson("webhooks", { ...form.values(), cursor }).then((found) => {
      rows.show(found.items);
      pages.show({ first, shown: found.items.length, next: found.next });
    }).catch((error) => toast(error.message, "bad"));
  }
  load();
  getJson("webhooks/unrecognized").then((found) => unrecognized.show(found.items)).catch((error) => toast(error.message, "bad"));
}
