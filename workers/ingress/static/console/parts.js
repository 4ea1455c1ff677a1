// What several pages show: moments, whose something is, and forms that choose rows.

import { getJson } from "./api.js";
import { address } from "./app.js";
import { h } from "./dom.js";
import { moment } from "./words.js";

/** A moment in the viewer's zone; the exact one, in UTC, on hover. */
export const when = (text) => (text ? h("time", { datetime: text, title: new Date(text).toISOString() }, moment(text)) : "");

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const MAX_ASKED = 50;
const RETRY_MS = 30000;
const names = new Map();
const asked = new Map();
const wanted = new Set();

const nameOf = (id) => names.get(id) || (UUID.test(id) ? `${id.slice(0, 8)}…` : id);

async function askForNames() {
  const ids = [...wanted].slice(0, MAX_ASKED);
  for (const id of ids) { wanted.delete(id); asked.set(id, Date.now()); }
  if (wanted.size) setTimeout(askForNames);
  const found = await getJson("organizations", { id: ids }).catch(() => null);
  if (!found) return;
  for (const id of ids) names.set(id, found.names[id] || "");
  for (const element of document.querySelectorAll("[data-organization]")) {
    const text = nameOf(element.dataset.organization);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** The name of an organization, or a part of its id until the name is known; all of the id on hover. */
export function organization(id, href) {
  if (UUID.test(id) && !names.has(id) && Date.now() - (asked.get(id) || 0) > RETRY_MS) {
    if (!wanted.size) setTimeout(askForNames);
    wanted.add(id);
  }
  return h(href ? "a" : "span", { href, title: id, "data-organization": id }, nameOf(id));
}

/** The organization, which leads to what it has, or the account where none is known. */
export function whose({ organization_id: id, organization: name, account }) {
  if (id && name) names.set(id, name);
  if (id) return organization(id, address("search", { text: id }));
  return account ? h("span", { title: "Account on the platform" }, account) : h("span", { className: "muted" }, "none");
}

const findOrganizations = async (text) => (await getJson("search", { text })).items.filter((hit) => hit.kind === "organization");

/**
 * A field for an organization: a part of its name, or its id. `read()` resolves to the id, to "" when
 * it is empty, and to null, told at the field, when the text names none, or several.
 */
export function organizationField(name, value) {
  const list = h("datalist", { id: `${name}-list` });
  const input = h("input", { name, value, list: list.id, placeholder: "Name or id", autocomplete: "off", spellcheck: "false" });
  let timer = null;
  async function suggest() {
    const text = input.value.trim();
    if (text.length < 2 || UUID.test(text)) return;
    const found = await findOrganizations(text).catch(() => []);
    if (input.value.trim() === text) list.replaceChildren(...found.map((hit) => h("option", { value: hit.id }, hit.title)));
  }
  input.addEventListener("input", () => { input.setCustomValidity(""); clearTimeout(timer); timer = setTimeout(suggest, 250); });
  async function read() {
    const text = input.value.trim();
    if (!text || UUID.test(text.toLowerCase())) return text;
    const found = await findOrganizations(text).catch(() => []);
    if (found.length === 1) return found[0].id;
    input.setCustomValidity(found.length ? `${found.length} organizations are named so: choose one of the list.` : "No organization is named so.");
    input.reportValidity();
    return null;
  }
  return { element: [input, list], read };
}

/** A form whose fields are in the page's address: a choice can be linked to, and survives a reload. */
export function filterForm(page, fields, query) {
  const owners = new Map();
  const inputs = fields.map(({ name, label, options, type = "text", placeholder }) => {
    const given = query.get(name) || "";
    if (name === "organization_id") {
      owners.set(name, organizationField(name, given));
      return h("label", {}, label, owners.get(name).element);
    }
    const input = options
      ? h("select", { name }, options.map(([value, text]) => h("option", { value, selected: value === given }, text)))
      : h("input", { name, type, placeholder, autocomplete: "off", spellcheck: "false", value: given });
    return h("label", {}, label, input);
  });
  const form = h("form", { className: "filter", role: "search" }, inputs, h("button", { type: "submit" }, "Show"));
  const read = () => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = read();
    for (const [name, field] of owners) chosen[name] = await field.read();
    if (!Object.values(chosen).includes(null)) location.hash = address(page, chosen);
  });
  form.addEventListener("change", (event) => { if (event.target instanceof HTMLSelectElement) form.requestSubmit(); });
  const asked = Object.fromEntries(fields.map(({ name }) => [name, query.get(name)]).filter(([, value]) => value));
  if (asked.since) asked.since = new Date(asked.since).toISOString();
  form.values = () => asked;
  form.isEmpty = () => Object.keys(asked).length === 0;
  return form;
}
