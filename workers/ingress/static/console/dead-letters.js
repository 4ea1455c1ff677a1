// Dead letters: what ended without success; put back or dropped, one or all that match.

import { getJson, postJson } from "./api.js";
import { address } from "./app.js";
import { askTwice, askWhy } from "./dialog.js";
import { h } from "./dom.js";
import { filterForm, when, whose } from "./parts.js";
import { pager, table } from "./table.js";
import { toast } from "./toast.js";
import { count, number, phone } from "./words.js";

const KINDS = [["", "All"], ["send", "Messages"], ["provision", "Connecting"], ["webhook", "Webhooks"], ["media", "Files"], ["callback", "Callbacks"], ["outcome", "Rows"]];
export const EFFECTS = {
  send: "The message is sent again; the recipient may get it twice if an earlier attempt went out.",
  change: "The change of the message is made again.",
  provision: "The number is connected again.",
  webhook: "The webhook is applied again; what it did before is not done twice.",
  media: "The file is fetched again.",
  callback: "The event is posted again; the receiver may get it twice.",
  outcome: "The row is written to Supabase again.",
};
const FIELDS = [
  { name: "kind", label: "Kind", options: KINDS },
  { name: "reason", label: "Reason", placeholder: "refused, expired …" },
  { name: "organization_id", label: "Organization" },
  { name: "number", label: "Number (id)" },
  { name: "since", label: "Since", type: "datetime-local" },
  { name: "closed", label: "Show", options: [["", "Open"], ["true", "Also closed ones"]] },
];

/** Ask, put one letter back, and tell what came of it. Resolves to whether anything was asked for. */
export async function replayOne(letter) {
  const title = letter.kind === "send" ? `Send the message to ${phone(letter.to)} again?` : "Put this dead letter back?";
  if (!await askTwice({ title, text: EFFECTS[letter.kind] || "It is tried again.", verb: "Put back" })) return false;
  await tell(() => postJson(`dead-letters/${letter.id}/replay`));
  return true;
}

export async function dropOne(letter) {
  const why = await askWhy({ title: "Drop this dead letter?", text: "It is never tried again. Who dropped it, when and why is kept with it.", verb: "Drop", danger: true });
  if (why === null) return false;
  await tell(() => postJson(`dead-letters/${letter.id}/drop`, { why }));
  return true;
}

async function tell(post) {
  try {
    const done = await post();
    toast(done.text, done.done ? "good" : "bad");
  } catch (error) {
    toast(error.message, "bad");
  }
}

export function show(main, place) {
  let cursor = null;
  let first = 1;
  let total = null;
  const said = h("p", { className: "muted", role: "status" });
  const all = h("button", { type: "button", className: "small", onclick: replayAll, hidden: true }, "Put all of these back");
  const progress = h("progress", { "aria-label": "Put back", hidden: true });
  const form = filterForm("dead-letters", FIELDS, place.query);
  const rows = table({
    label: "Dead letters",
    empty: "No dead letters.",
    columns: [
      { title: "When", className: "short", cell: (letter) => when(letter.at) },
      { title: "What", cell: (letter) => [h("span", { className: "strong" }, describe(letter)), letter.kind === "send" ? h("a", { href: address("search", { message: letter.id }) }, "Timeline") : null].filter(Boolean) },
      { title: "Whose", cell: (letter) => whose(letter) },
      { title: "Why", cell: (letter) => [h("span", { className: "strong" }, letter.reason.replaceAll("_", " ")), h("span", { className: "minor" }, letter.detail)] },
      { title: "", className: "actions", cell: (letter) => buttons(letter) },
    ],
  });
  const pages = pager((next) => { first = next ? first + 50 : 1; cursor = next; load(); });
  main.append(form, h("div", { className: "row between" }, said, all), progress, rows, pages);

  function describe(letter) {
    const known = KINDS.find(([kind]) => kind === letter.kind);
    return letter.kind === "send" ? `Message to ${phone(letter.to)}` : known ? known[1] : letter.kind;
  }

  function buttons(letter) {
    if (letter.closed) return [h("span", { className: "tag" }, letter.closed), h("span", { className: "minor" }, when(letter.closed_at))];
    return h("div", { className: "row" },
      h("button", { type: "button", className: "small", onclick: async () => { if (await replayOne(letter)) load(); } }, "Put back"),
      h("button", { type: "button", className: "small quiet", onclick: async () => { if (await dropOne(letter)) load(); } }, "Drop"));
  }

  async function load() {
    try {
      const found = await getJson("dead-letters", { ...form.values(), cursor });
      total = found.total ?? total;
      said.textContent = total ? `${count(total, "dead letter")}${form.isEmpty() ? "" : " of this choice"}` : "";
      all.hidden = !total || form.values().closed === "true";
      rows.show(found.items);
      pages.show({ first, shown: found.items.length, total, next: found.next });
      asked = found.now;
    } catch (error) {
      toast(error.message, "bad");
    }
  }
  let asked = null;

  async function replayAll() {
    const { closed, ...filter } = form.values();
    const what = filter.kind ? EFFECTS[filter.kind] : "Messages are sent again, and recipients may get them twice; webhooks, files and posts are handled again.";
    const agreed = await askTwice({
      title: `Put ${count(total, "dead letter")} back?`,
      text: `${what} The oldest goes first, about 50 a second.`,
      again: `Really put ${count(total, "dead letter")} back${form.isEmpty() ? ", of every organization" : ""}? This is written to the audit log with your name.`,
      verb: "Put back",
    });
    if (!agreed) return;
    const until = asked;
    progress.hidden = false;
    progress.max = total;
    progress.value = 0;
    all.disabled = true;
    let [replayed, skipped, after] = [0, 0, null];
    try {
      do {
        const done = await postJson("dead-letters/replay", { filter, until, after });
        replayed += done.replayed;
        skipped += done.skipped;
        after = done.next;
        progress.value = replayed + skipped;
        said.textContent = `${number(replayed + skipped)} of ${number(total)} put back …`;
      } while (after && !stopped);
      toast(`${number(replayed)} put back${skipped ? `, ${number(skipped)} skipped: they wait already, or cannot be read` : ""}.`);
    } catch (error) {
      toast(`${number(replayed)} put back, then: ${error.message}`, "bad");
    }
    progress.hidden = true;
    all.disabled = false;
    if (!stopped) load();
  }

  let stopped = false;
  load();
  return () => { stopped = true; };
}
