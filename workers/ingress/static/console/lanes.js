// Lanes: what waits, why, and until when.

import { getJson } from "./api.js";
import { address } from "./app.js";
import { h, redraw } from "./dom.js";
import { poll } from "./live.js";
import { organization } from "./parts.js";
import { pager, table } from "./table.js";
import { KINDS, count, duration, number } from "./words.js";

const KIND = { send: "message", webhook: "webhook", provision: "connect", media: "file", callback: "callback" };
const STATES = { held: ["Held", "bad"], paced: ["Waits its turn", "warn"], "backing off": ["Tries again", "warn"], "in work": ["In work", "good"] };

/** The number that a row is about, with links to its lanes and to its state. */
function about(row) {
  if (!row.number) return h("span", { className: "strong" }, row.gate === "platform" ? "The platform: every number" : row.organization ? organization(row.organization) : row.gate || "–");
  return [
    h("a", { className: "strong", href: address("lanes", { number: row.number }) }, row.name || row.of || row.number),
    h("span", { className: "minor" }, row.of ? `account ${row.of}` : row.number),
  ];
}

const owner = (row) => (row.organization ? h("span", { className: "minor" }, organization(row.organization, address("lanes", { organization: row.organization }))) : "");
/** Webhooks and files wait by account. */
const isAccount = (row) => !/^[0-9a-f-]{36}$/.test(row.organization);
const peer = (row) => row.lane.split(":").slice(2).join(":");

/** The answer to "why do these messages wait", in a sentence. */
function answer(found, query) {
  const waiting = found.waiting.reduce((total, row) => total + row.events, 0);
  const whose = query.get("number") ? "this number" : query.get("organization") ? "this organization" : "any organization";
  const [gate] = found.held;
  if (gate) {
    const many = found.held.length > 1 ? `${count(found.held.length, "gate")} are closed. ` : "";
    return ["bad", `${many}${gate.gate === "platform" ? "Messages of every number are held" : `Messages of ${gate.name || gate.number || gate.gate} are held`}`,
      `${gate.reason}. One event tries again in ${duration(gate.left_s)}; the rest follow in order once it succeeds.`];
  }
  const late = found.lanes.filter((lane) => lane.state === "backing off");
  if (late.length) return ["warn", `${count(late.length, "lane")} failed and will be tried again`, late[0].reason || "The last attempt failed."];
  if (found.paced.length) return ["warn", "Messages wait their turn", `${count(found.paced.reduce((total, row) => total + row.waiting, 0), "message")} of ${count(found.paced.length, "number")} go out at the pace of their number.`];
  if (found.lanes.length || waiting) return ["good", "Events are in work", "Nothing is held, paced or backing off."];
  return ["good", `Nothing of ${whose} waits`, "Every accepted event is settled, or has a later date."];
}

const section = (title, text, ...content) => h("section", {}, h("h2", {}, title), h("p", { className: "muted" }, text), content);

export function show(main, place) {
  const { query } = place;
  let first = 0;
  const wanted = { organization: query.get("organization"), number: query.get("number") };
  const said = h("div", { className: "answer", role: "status", hidden: true });
  const held = table({
    label: "Closed gates", empty: "No gate is closed.",
    columns: [
      { title: "Held", cell: (row) => [about(row), owner(row)] },
      { title: "Why", cell: (row) => row.reason },
      { title: "Lanes", className: "amount", cell: (row) => number(row.lanes) },
      { title: "Since", className: "short", cell: (row) => (row.since_ms ? duration((Date.now() - row.since_ms) / 1000) : "–") },
      { title: "Next try", className: "short", cell: (row) => `in ${duration(row.left_s)}` },
    ],
  });
  const paced = table({
    label: "Numbers whose messages wait their turn", empty: "No message waits its turn.",
    columns: [
      { title: "Number", cell: (row) => [about(row), owner(row)] },
      { title: "Messages", className: "amount", cell: (row) => number(row.waiting) },
      { title: "The last goes", className: "short", cell: (row) => `in ${duration(row.for_s)}` },
    ],
  });
  const lanes = table({
    label: "Lanes", empty: "No lane here is held, paced, backing off or in work.",
    columns: [
      { title: "State", className: "short", cell: (row) => h("span", { className: "tag", "data-state": STATES[row.state][1] }, STATES[row.state][0]) },
      { title: "Lane", cell: (row) => [about(row), h("span", { className: "minor" }, `${KIND[row.kind]}${row.kind === "send" ? ` to +${peer(row)}` : ""}, ${count(row.events, "event")}`)] },
      { title: "Why", cell: (row) => row.reason || (row.state === "in work" ? "a worker has it" : "–") },
      { title: "Attempts", className: "amount", cell: (row) => number(row.attempts) },
      { title: "Waits for", className: "short", cell: (row) => duration(row.age_s) },
      { title: "Next try", className: "short", cell: (row) => (row.state === "in work" ? "–" : `in ${duration(row.left_s)}`) },
    ],
  });
  const waiting = table({
    label: "What waits, by organization", empty: "Nothing waits.",
    columns: [
      { title: "Organization or account", cell: (row) => h("span", { className: "strong" }, isAccount(row) ? `account ${row.organization}` : organization(row.organization, address("lanes", { organization: row.organization }))) },
      { title: "Kind", className: "short", cell: (row) => KINDS[row.kind] },
      { title: "Waiting", className: "amount", cell: (row) => number(row.events) },
    ],
  });
  const turns = pager((cursor) => { first = cursor ?? 0; stop.now(); });
  const chosen = wanted.organization || wanted.number;
  if (chosen) main.append(h("p", { className: "row" }, h("span", { className: "muted" }, wanted.number ? "Number " : ["Organization ", organization(chosen), " "], h("code", {}, chosen)), h("a", { href: address("lanes") }, "Show all")));
  main.append(said,
    section("Held", "The gate of a number is closed while its key is refused or its phone is unlinked; that of the platform while it fails.", held),
    section("Wait their turn", "By the pace or the warm-up of their number.", paced),
    section("Lanes", "In work, or waiting for a time: those due soonest first.", lanes, turns),
    section("By organization", "Everything that is not settled.", waiting));
  const stop = poll(() => getJson("lanes", { ...wanted, first }), (found) => {
    const [state, title, text] = answer(found, query);
    said.dataset.state = state;
    said.hidden = false;
    redraw(said, h("h2", {}, title), h("p", {}, text));
    held.show(found.held);
    paced.show(found.paced);
    lanes.show(found.lanes);
    waiting.show(found.waiting);
    turns.show({ first: found.first + 1, shown: found.lanes.length, total: null, next: found.next });
  });
  return stop;
}
