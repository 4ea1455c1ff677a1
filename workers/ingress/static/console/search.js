// Search: a phone in any spelling, the id of a message, an organization. Shows a message or a conversation.

import { getJson } from "./api.js";
import { address } from "./app.js";
import { h } from "./dom.js";
import { showMessage, stateTag } from "./message.js";
import { when, whose } from "./parts.js";
import { table } from "./table.js";
import { toast } from "./toast.js";
import { phone } from "./words.js";

const KINDS = { message: "Message", dead_letter: "Dead letter", webhook: "Webhook", callback: "Callback", organization: "Organization", number: "Number", conversation: "Conversation" };

const named = (title) => (/^\d{7,15}$/.test(title || "") ? phone(title) : title || "");

/** The links of a hit: the page concerned; for an organization, what it has. */
function links(hit) {
  const organization = { organization_id: hit.id };
  switch (hit.kind) {
    case "message": return [[named(hit.title) || hit.id, address("search", { message: hit.id })]];
    case "conversation": return [[named(hit.title), address("search", { chat: hit.id, organization: hit.organization_id })]];
    case "dead_letter": return [[(hit.title || "").replaceAll("_", " "), address("search", { message: hit.id })], ["Dead letters", address("dead-letters", { organization_id: hit.organization_id })]];
    case "webhook": return [[hit.title, address("webhooks", { id: hit.id })]];
    case "callback": return [[hit.title, address("callbacks", { callback: hit.id })]];
    case "number": return [[hit.title || hit.id, address("dead-letters", { number: hit.id })], ["What waits", address("lanes", { number: hit.id })], ["Webhooks", address("webhooks", { organization_id: hit.organization_id })]];
    default: return [[hit.title, null], ["What waits", address("lanes", { organization: hit.id })], ["Numbers", address("numbers", { organization: hit.id })], ["Unknown", address("unknown", organization)], ["Dead letters", address("dead-letters", organization)], ["Webhooks", address("webhooks", organization)], ["Callbacks", address("callbacks", organization)]];
  }
}

function draw([text, href], position) {
  const shown = href ? h("a", { href }, text) : h("span", {}, text);
  return position ? h("span", { className: "also" }, shown) : h("span", { className: "strong" }, shown);
}

function showHits(main, text) {
  const rows = table({
    label: "Found",
    empty: `Nothing is named “${text}”. A phone may have any spelling; an id has to be whole.`,
    columns: [
      { title: "What", className: "short", cell: (hit) => KINDS[hit.kind] || hit.kind },
      { title: "Which", cell: (hit) => links(hit).map(draw) },
      { title: "Whose", cell: (hit) => (hit.kind === "organization" ? h("code", {}, hit.id) : whose(hit)) },
      { title: "When", className: "short", cell: (hit) => when(hit.at) },
    ],
  });
  main.append(rows);
  getJson("search", { text }).then((found) => rows.show(found.items)).catch((error) => toast(error.message, "bad"));
}

function showConversation(main, organization, chat) {
  const heading = h("h2", {}, named(chat));
  const of = h("p", { className: "muted" });
  const rows = table({
    label: "Messages of the conversation",
    empty: "No messages.",
    columns: [
      { title: "When", className: "short", cell: (message) => when(message.created_at) },
      { title: "Way", className: "short", cell: (message) => (message.direction === "outgoing" ? "sent by us" : "arrived") },
      { title: "State", cell: (message) => [stateTag(message.status), message.reason ? h("span", { className: "minor" }, message.reason) : ""] },
      { title: "", cell: (message) => h("a", { href: address("search", { message: message.id }) }, "Timeline") },
    ],
  });
  main.append(h("section", {}, heading, of, rows));
  getJson("messages", { organization_id: organization, chat }).then((found) => {
    of.replaceChildren(whose({ organization_id: organization, organization: found.organization }));
    rows.show(found.items);
  }).catch((error) => toast(error.message, "bad"));
}

export function show(main, place) {
  const text = place.query.get("text") || "";
  const input = h("input", { type: "search", name: "text", value: text, placeholder: "+7 999 …, an id, a name", autocomplete: "off", spellcheck: "false" });
  const form = h("form", { className: "filter", role: "search" }, h("label", {}, "Phone, id of a message, or organization", input), h("button", { type: "submit", className: "primary" }, "Search"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = address("search", { text: input.value.trim() });
  });
  main.append(form);
  if (place.query.get("message")) return showMessage(main, place.query.get("message"));
  if (place.query.get("chat")) showConversation(main, place.query.get("organization"), place.query.get("chat"));
  else if (text) showHits(main, text);
  else input.focus();
  return () => {};
}
