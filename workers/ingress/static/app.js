// The page: who is signed in, which numbers there are, and what a person wants of them.

import * as api from "./api.js";
import { Card } from "./card.js";
import * as session from "./session.js";
import { label, language, say, speak } from "./words.js";

const TOAST_MS = 5000;
const KEPT = "wpp-begun";

const find = (id) => document.getElementById(id);
const cards = new Map();
const begun = new Set(session.recall(KEPT) ?? []);
const live = new api.Live(show, (fresh) => { find("stale").hidden = fresh; });
let loaded = false;
let busy = false;

function only(id) {
  for (const each of ["wait", "sign-in", "handed", "panel"]) find(each).hidden = each !== id;
  find("leave").hidden = id !== "panel" || session.embedded;
}

function enter() {
  only(loaded ? "panel" : "wait");
  live.start();
}

function left(why) {
  live.end();
  loaded = false;
  show([]);
  if (session.embedded) { session.tell({ type: "wpp-session-needed" }); only("handed"); return; }
  only("sign-in");
  if (why !== undefined) wrong(say("sessionOver"));
  find("credentials").elements.email.focus();
}

function wrong(text) {
  find("sign-in-wrong").textContent = text;
  find("sign-in-wrong").hidden = !text;
}

async function signIn(how) {
  wrong("");
  try {
    await how();
    await api.list();
    enter();
  } catch (error) {
    session.leave();
    only("sign-in");
    wrong(say(error.refused ? "wrongPassword" : error.status === 401 ? "noMember" : "notReached"));
  }
}

function remember(id, isNew) {
  if (isNew) begun.add(id); else begun.delete(id);
  session.retain(KEPT, [...begun]);
}

/** Bring the page in step with the numbers that there are. */
function show(numbers) {
  if (session.signedIn() && !loaded) { loaded = true; only("panel"); }
  const ids = new Set(numbers.map((each) => each.integration_id));
  for (const [id, card] of cards) if (!ids.has(id)) { card.root.remove(); cards.delete(id); remember(id, false); }
  for (const number of numbers) {
    const id = number.integration_id;
    const card = cards.get(id);
    if (card) notice(card, number);
    else cards.set(id, new Card(number, want));
    const shown = cards.get(id);
    shown.isNew = begun.has(id);
    shown.update(number);
  }
  const sorted = numbers.map((each) => cards.get(each.integration_id)).sort((a, b) => Number(b.awaits) - Number(a.awaits));
  sorted.forEach((card, at) => {
    if (find("numbers").children[at] !== card.root) find("numbers").insertBefore(card.root, find("numbers").children[at] ?? null);
  });
  frame(numbers);
}

function frame(numbers) {
  const waiting = numbers.some((each) => begun.has(each.integration_id) && cards.get(each.integration_id).awaits);
  find("empty").hidden = numbers.length > 0;
  find("numbers").hidden = numbers.length === 0;
  find("summary").textContent = numbers.length ? say("summary", { n: numbers.length }) : "";
  find("add-text").textContent = say(numbers.length ? "connectAnother" : "connect");
  find("add").hidden = !numbers.length || waiting;
  session.signedIn() && session.tell({ type: "wpp-height", height: document.documentElement.scrollHeight });
}

/** Say what has just happened to a number, to those who see and to those who hear. */
function notice(card, number) {
  const [before, now] = [card.number.status, number.status];
  if (before === now) return;
  if (now === "connected") {
    toast(say("toastConnected", { name: number.name || card.name }), "good");
    remember(number.integration_id, false);
    session.tell({ type: "wpp-connected", integration_id: number.integration_id });
  } else {
    find("told").textContent = now === "qr_issued" ? say("toldCode", { name: card.name }) : `${card.name}: ${say(now)}`;
  }
}

function toast(text, kind = "") {
  const shown = document.createElement("p");
  shown.className = `toast ${kind}`;
  shown.textContent = text;
  find("toasts").append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

/** Do something at the door, then look; what the door refuses is said. */
async function attempt(work, done) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    const answer = await work();
    if (done) toast(done);
    return answer;
  } catch (error) {
    if (error.status !== 401) toast(say("toastFailed", { error: error.message || say("notReached") }), "bad");
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
    await live.look();
  }
}

async function connect(wanted) {
  const answer = await attempt(() => api.connect(wanted));
  if (!answer) return;
  if (answer.status !== "connected") remember(answer.integration_id, !wanted.integration_id);
  await live.look();
  const card = cards.get(answer.integration_id);
  card?.root.scrollIntoView({ block: "nearest", behavior: "smooth" });
  card?.find("[data-do=cancel]").focus({ preventScroll: true });
}

const add = () => connect(cards.size ? { add_new: true } : {});

async function question(name) {
  find("question-title").textContent = say("askTitle", { name });
  find("question-text").textContent = say("askText");
  find("question").returnValue = "no";
  find("question").showModal();
  await new Promise((resolve) => find("question").addEventListener("close", resolve, { once: true }));
  return find("question").returnValue === "yes";
}

async function want(what, card, value) {
  const { number, name } = card;
  const id = number.integration_id;
  const mend = number.next_step === "force_recreate"
    ? () => api.connect({ integration_id: id, force_recreate: true })
    : () => api.act(id, "reconnect");
  if (what === "mend") { card.folded = false; await attempt(mend); }
  if (what === "refresh") await attempt(() => api.act(id, "refresh"));
  if (what === "primary") await attempt(() => api.act(id, "primary"), say("toastPrimary", { name }));
  if (what === "switch") await attempt(() => api.change(id, { is_enabled: number.is_enabled === false }), say("toastSaved"));
  if (what === "name" && value.trim()) await attempt(() => api.change(id, { name: value }), say("toastSaved"));
  if (what === "copy") navigator.clipboard?.writeText(number.account_number).then(() => toast(say("copied")), () => {});
  if (what === "cancel" && (card.isNew || !number.account_number)) {
    await attempt(() => api.remove(id), say("toastCancelled"));
    find(cards.size ? "add" : "add-first").focus();
  } else if (what === "cancel") {
    card.folded = true;
    card.update(number);
  }
  if (what === "disconnect" && (await question(name))) await attempt(() => api.remove(id), say("toastGone", { name }));
}

function speakOut() {
  document.documentElement.lang = language();
  document.title = say("title");
  label(document);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language()));
  }
  for (const card of cards.values()) card.say();
  frame([...cards.values()].map((card) => card.number));
}

function tick() {
  for (const card of cards.values()) {
    if (!document.hidden && card.tick() && card.asked !== card.shownAt) {
      card.asked = card.shownAt;
      api.act(card.number.integration_id, "refresh").catch(() => {});
    }
  }
}

async function begin() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => { speak(button.dataset.language); speakOut(); });
  }
  speakOut();
  find("add").addEventListener("click", add);
  find("add-first").addEventListener("click", add);
  find("leave").addEventListener("click", () => { session.leave(); left(); });
  find("demo").addEventListener("click", () => signIn(session.demo));
  find("credentials").addEventListener("submit", (event) => {
    event.preventDefault();
    const { email, password } = event.target.elements;
    signIn(() => session.signIn(email.value, password.value));
  });
  api.whenLeft(left);
  setInterval(tick, 1000);
  let settings = null;
  while (!settings) settings = await session.open().catch(() => new Promise((again) => setTimeout(again, 2000)));
  find("demo").hidden = find("or").hidden = !settings.demo;
  if (session.embedded) session.accept(() => { live.end(); enter(); }); // the stream of another person ends
  if (session.signedIn()) enter(); else left();
}

begin();
