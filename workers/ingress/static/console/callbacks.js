// Callbacks: to whom events are posted, each attempt, and posting them again.

import { getJson, postJson } from "./api.js";
import { address } from "./app.js";
import { askTwice } from "./dialog.js";
import { h } from "./dom.js";
import { filterForm, when, whose } from "./parts.js";
import { pager, table } from "./table.js";
import { toast } from "./toast.js";

function state(callback) {
  if (!callback.is_enabled) return [h("span", { className: "tag", "data-state": "bad" }, "Disabled"), h("span", { className: "minor" }, callback.disabled_reason || "by its owner")];
  if (callback.failing_since) return [h("span", { className: "tag", "data-state": "warn" }, "Failing"), h("span", { className: "minor" }, "since ", when(callback.failing_since))];
  return [h("span", { className: "tag", "data-state": callback.last_success_at ? "good" : "" }, callback.last_success_at ? "Works" : "Nothing posted yet")];
}

async function replay(path, body, asked) {
  if (!await askTwice(asked)) return;
  try {
    toast((await postJson(path, body)).text);
  } catch (error) {
    toast(error.message, "bad");
  }
}

function showAll(main, place) {
  const form = filterForm("callbacks", [{ name: "organization_id", label: "Organization" }], place.query);
  const rows = table({
    label: "Callbacks",
    empty: "No callbacks: no organization has events posted to it.",
    columns: [
      { title: "State", cell: state },
      { title: "Address", cell: (callback) => [h("a", { className: "strong", href: address("callbacks", { callback: callback.id }) }, callback.url), h("span", { className: "minor" }, callback.types.join(", ") || "all events")] },
      { title: "Whose", cell: (callback) => whose(callback) },
      { title: "Last success", className: "short", cell: (callback) => when(callback.last_success_at) },
    ],
  });
  main.append(form, rows);
  getJson("callbacks", form.values()).then((found) => rows.show(found.items)).catch((error) => toast(error.message, "bad"));
}

function showOne(main, id) {
  let before = null;
  let first = 1;
  const about = h("section", {});
  const rows = table({
    label: "Deliveries",
    empty: "No deliveries.",
    columns: [
      { title: "When", className: "short", cell: (each) => when(each.at) },
      { title: "Event", cell: (each) => [h("span", { className: "strong" }, each.type), h("span", { className: "minor" }, each.webhook_id)] },
      { title: "Attempt", className: "amount", cell: (each) => each.attempt },
      { title: "Result", cell: (each) => [h("span", { className: "tag", "data-state": each.outcome === "delivered" ? "good" : "bad" }, each.outcome.replaceAll("_", " ")), each.error ? h("span", { className: "minor" }, each.error) : ""] },
      { title: "", className: "actions", cell: (each) => h("button", { type: "button", className: "small", onclick: () => again(each) }, "Post again") },
    ],
  });
  const again = (each) => replay(`callbacks/${id}/deliveries/${each.id}/replay`, {}, { title: `Post ${each.webhook_id} again?`, text: "The receiver gets the event once more, under the same id.", verb: "Post again" });
  const pages = pager((next) => { first = next ? first + 50 : 1; before = next; load(); });
  const since = h("input", { type: "datetime-local", name: "since", required: true });
  const form = h("form", { className: "filter" }, h("label", {}, "Post again all events since", since), h("button", { type: "submit" }, "Post again"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const from = new Date(since.value);
    replay(`callbacks/${id}/replay`, { since: from.toISOString() }, { title: "Post these events again?", text: `The receiver gets every event since ${from.toLocaleString("en-GB")} once more, each under the same id.`, verb: "Post again" });
  });
  main.append(h("p", {}, h("a", { href: address("callbacks") }, "All callbacks")), about, form, rows, pages);

  function load() {
    getJson(`callbacks/${id}`, { before }).then((found) => {
      about.replaceChildren(h("h2", {}, found.callback.url), h("p", { className: "row" }, state(found.callback), whose(found.callback)));
      rows.show(found.items);
      pages.show({ first, shown: found.items.length, next: found.next });
    }).catch((error) => toast(error.message, "bad"));
  }
  load();
}

export function show(main, place) {
  const id = place.query.get("callback");
  if (id) showOne(main, id);
  else showAll(main, place);
}
