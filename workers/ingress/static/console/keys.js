// Keys: with which services call the API. A new one is shown once.

import { getJson, postJson } from "./api.js";
import { askTwice } from "./dialog.js";
import { h } from "./dom.js";
import { when } from "./parts.js";
import { table } from "./table.js";
import { toast } from "./toast.js";

const ACTION_WORDS = { read: "read", write: "change" };

function describeState(key) {
  if (key.revoked_at) return [h("span", { className: "tag" }, "Revoked"), h("span", { className: "minor" }, when(key.revoked_at))];
  return key.last_used_at ? [h("span", { className: "tag", "data-state": "good" }, "In use"), h("span", { className: "minor" }, "last ", when(key.last_used_at))] : h("span", { className: "tag" }, "Never used");
}

export function show(main) {
  const made = h("section", { className: "answer", "data-state": "good", hidden: true, "aria-live": "polite" });
  const choices = h("div", { className: "choices" });
  const name = h("input", { name: "name", required: true, maxlength: 100, autocomplete: "off" });
  const organizations = h("input", { name: "organizations", required: true, autocomplete: "off", spellcheck: "false", placeholder: "Ids, with spaces between" });
  const form = h("form", { className: "stack" },
    h("label", {}, "Which service gets it", name),
    h("label", {}, "For which organizations", organizations),
    h("fieldset", {}, h("legend", {}, "What it may do (none chosen: everything)"), choices),
    h("button", { type: "submit", className: "primary" }, "Create the key"));
  const rows = table({
    label: "Keys",
    empty: "No keys.",
    columns: [
      { title: "Name", cell: (key) => h("span", { className: "strong" }, key.name) },
      { title: "State", cell: describeState },
      { title: "For", cell: (key) => (key.actions.length ? key.organizations.join(", ") : "every organization") },
      { title: "May", cell: (key) => (key.actions.length ? (key.actions.includes("*") ? "everything" : key.actions.join(", ")) : "open this console") },
      { title: "Made", className: "short", cell: (key) => when(key.created_at) },
      { title: "", className: "actions", cell: (key) => (key.revoked_at ? "" : h("button", { type: "button", className: "small", onclick: () => revoke(key) }, "Revoke")) },
    ],
  });
  main.append(made, h("details", { className: "card" }, h("summary", {}, "Create a key"), form), rows);

  async function revoke(key) {
    const text = "Requests with it are refused within half a minute. It cannot be taken back: the service needs a new key.";
    if (!await askTwice({ title: `Revoke the key of ${key.name}?`, text, verb: "Revoke", danger: true })) return;
    try {
      toast((await postJson(`keys/${key.id}/revoke`)).text);
    } catch (error) {
      toast(error.message, "bad");
    }
    load();
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const actions = [...choices.querySelectorAll("input:checked")].map((box) => box.value);
    try {
      const { key } = await postJson("keys", { name: name.value.trim(), organization_ids: organizations.value.split(/[\s,]+/).filter(Boolean), actions });
      const close = h("button", { type: "button", onclick: () => { made.hidden = true; made.replaceChildren(); } }, "I have stored it");
      const copy = h("button", { type: "button", className: "primary", onclick: () => navigator.clipboard.writeText(key).then(() => toast("Copied."), () => toast("Copy it by hand.", "bad")) }, "Copy");
      made.replaceChildren(h("h2", {}, `The key of ${name.value.trim()}`), h("p", {}, "It is shown this once: store it now."), h("p", {}, h("code", { className: "secret" }, key)), h("div", { className: "row" }, copy, close));
      made.hidden = false;
      form.reset();
      form.closest("details").open = false;
      made.scrollIntoView({ block: "nearest" });
      load();
    } catch (error) {
      toast(error.message, "bad");
    }
  });

  function load() {
    getJson("keys").then((found) => {
      if (!choices.children.length) {
        choices.append(...found.actions.map((action) => {
          const [noun, verb] = action.split(":");
          return h("label", { className: "choice" }, h("input", { type: "checkbox", value: action }), `${noun}: ${ACTION_WORDS[verb] || verb}`);
        }));
      }
      rows.show(found.items);
    }).catch((error) => toast(error.message, "bad"));
  }
  load();
}
