// Asks twice before a change: what will happen, and whether it really shall.

import { h } from "./dom.js";

/**
 * Resolve to whether an operator agreed twice. `text` says what happens, `again` what cannot be
 * taken back, `verb` is on the button: { title: "Drop 3 dead letters?", verb: "Drop", … }.
 */
export function askTwice({ title, text, again, verb, danger = false }) {
  const heading = h("h2", { id: "asked" }, title);
  const said = h("p", { id: "asked-text" }, text);
  const yes = h("button", { type: "button", className: danger ? "danger" : "primary" }, verb);
  const no = h("button", { type: "button", autofocus: true }, "Cancel");
  const dialog = h("dialog", { "aria-labelledby": "asked", "aria-describedby": "asked-text" },
    heading, said, h("div", { className: "row end" }, no, yes));
  const before = document.activeElement;
  document.body.append(dialog);
  return new Promise((resolve) => {
    let agreed = false;
    yes.addEventListener("click", () => {
      if (!yes.dataset.asked) {
        yes.dataset.asked = "once";
        said.textContent = again || "Are you sure? This is written to the audit log with your name.";
        yes.textContent = `Yes, ${verb.toLowerCase()}`;
        no.focus();
        return;
      }
      agreed = true;
      dialog.close();
    });
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); before?.focus?.(); resolve(agreed); });
    dialog.showModal();
  });
}

/** The same for a change that needs a reason. Resolves to it, or to null when nobody agreed. */
export async function askWhy({ title, text, verb, danger = false }) {
  const why = h("textarea", { name: "why", required: true, maxlength: 500, autofocus: true });
  const on = h("button", { className: danger ? "danger" : "primary" }, verb);
  const no = h("button", { type: "button" }, "Cancel");
  const form = h("form", { method: "dialog" }, h("label", {}, "Why", why), h("div", { className: "row end" }, no, on));
  const dialog = h("dialog", { "aria-labelledby": "reasoned" }, h("h2", { id: "reasoned" }, title), h("p", {}, text), form);
  const before = document.activeElement;
  document.body.append(dialog);
  const reason = await new Promise((resolve) => {
    let given = null;
    form.addEventListener("submit", () => { given = why.value.trim() || null; });
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); before?.focus?.(); resolve(given); });
    dialog.showModal();
  });
  if (reason === null) return null;
  return await askTwice({ title, text: `Reason: ${reason}`, verb, danger }) ? reason : null;
}
