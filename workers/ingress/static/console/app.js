// The console: pages behind #, each a module with `show(main, place)`.

import { getSession, signOut } from "./api.js";
import { h } from "./dom.js";
import { leave } from "./live.js";
import { toast } from "./toast.js";

/** Name of the module and of the address, and the title. */
export const PAGES = [
  ["overview", "Overview"],
  ["numbers", "Numbers"],
  ["lanes", "Lanes"],
  ["search", "Search"],
  ["unknown", "Unknown"],
  ["dead-letters", "Dead letters"],
  ["webhooks", "Webhooks"],
  ["callbacks", "Callbacks"],
  ["keys", "Keys"],
];

const main = document.getElementById("main");
let stop = () => {};
let turn = 0;

/** #lanes?organization=… : the page, and what is asked of it. */
function readPlace() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  const known = PAGES.some(([each]) => each === name);
  return { name: known ? name : PAGES[0][0], query: new URLSearchParams(known ? query : "") };
}

/** The address of a page, for links: `address("lanes", { number: id })`. */
export const address = (name, query = {}) => {
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#${name}${given ? `?${given}` : ""}`;
};

/** Show the page of the address. The one before goes at once: what is typed there while the next one loads would be lost. */
async function show() {
  const mine = ++turn;
  stop();
  stop = () => {};
  leave();
  main.replaceChildren();
  const place = readPlace();
  const [, title] = PAGES.find(([name]) => name === place.name);
  document.title = `${title} – Console`;
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.dataset.page === place.name) { link.setAttribute("aria-current", "page"); link.scrollIntoView({ block: "nearest", inline: "nearest" }); } else link.removeAttribute("aria-current");
  }
  const page = await import(`./${place.name}.js`);
  if (mine !== turn) return;
  stop = page.show(main, place) || (() => {});
}

for (const [name, title] of PAGES) {
  document.getElementById("pages").append(h("li", {}, h("a", { href: `#${name}`, "data-page": name }, title)));
}
document.getElementById("sign-out").addEventListener("click", () => signOut().catch((error) => toast(error.message, "bad")));
window.addEventListener("hashchange", show);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
getSession().then((session) => { document.getElementById("who").textContent = session.name; }).catch(() => {});
show();
