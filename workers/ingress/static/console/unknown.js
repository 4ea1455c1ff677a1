// Unknown: messages that may or may not have gone out.

import { getJson, postJson } from "./api.js";
import { address } from "./app.js";
import { askTwice } from "./dialog.js";
import { h } from "./dom.js";
import { filterForm, when, whose } from "./parts.js";
import { poll } from "./live.js";
import { table } from "./table.js";
import { toast } from "./toast.js";
import { count, phone } from "./words.js";

export const SETTLEMENTS = {
  sent: { button: "It arrived", verb: "Settle as sent", text: "The message counts as sent. It is not sent again." },
  failed: { button: "It did not", verb: "Settle as failed", text: "The message counts as failed and becomes a dead letter, which can be put back later. It is not sent now." },
  again: { button: "Send again", verb: "Send again", text: "The message is sent again; the recipient may get it twice." },
};

/** Ask, settle, and tell what came of it. Resolves to whether it was asked for. */
export async function settle(message, outcome) {
  const { verb, text } = SETTLEMENTS[outcome];
  const agreed = await askTwice({ title: `${verb}: the message to ${phone(message.to)}?`, text, verb, danger: outcome === "again" });
  if (!agreed) return false;
  try {
    const done = await postJson(`unknown/${message.id}/settle`, { outcome });
    toast(done.text, done.done ? "good" : "bad");
  } catch (error) {
    toast(error.message, "bad");
  }
  return true;
}

export function show(main, place) {
  const form = filterForm("unknown", [{ name: "organization_id", label: "Organization" }], place.query);
  const said = h("p", { className: "muted", role: "status" });
  const rows = table({
    label: "Messages of unknown delivery",
    empty: "No message is unknown: of each it is known whether it went out.",
    columns: [
      { title: "Accepted", className: "short", cell: (message) => when(message.accepted) },
      { title: "To", cell: (message) => [h("span", { className: "strong" }, phone(message.to)), h("a", { href: address("search", { message: message.id }) }, "Timeline")] },
      { title: "Whose", cell: (message) => whose(message) },
      { title: "Why", cell: (message) => [h("span", {}, message.reason || ""), ...message.perhaps.map((report) => h("span", { className: "minor" }, "The platform reported ", report.ids.join(", "), " at ", when(report.at), ": perhaps this message."))] },
      { title: "", className: "actions", cell: (message) => h("div", { className: "row" }, Object.entries(SETTLEMENTS).map(([outcome, { button }]) =>
        h("button", { type: "button", className: "small", onclick: async () => { if (await settle(message, outcome)) stop.now(); } }, button))) },
    ],
  });
  main.append(
    h("p", { className: "muted" }, "The call to the platform ended without an answer. Look at the phone that sent it: is the message there?"),
    form, said, rows);
  const stop = poll(() => getJson("unknown", form.values()), (found) => {
    said.textContent = found.total ? `${count(found.total, "message")}${found.total > found.items.length ? `, the oldest ${found.items.length} here` : ""}` : "";
    rows.show(found.items);
  });
  return stop;
}
