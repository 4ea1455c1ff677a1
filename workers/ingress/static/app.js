// The page: sign-in, the list of numbers, and the actions on them.

import * as api from "./api.js";
import { Card } from "./card.js";
import * as session from "./session.js";
import { language, setLanguage, translate, translateCause, translateElements, translateState } from "./words.js";

const TOAST_MS = 5000;
const STORAGE_KEY = "wpp-new-numbers";
const SECTIONS = ["loading", "sign-in", "waiting-for-session", "panel"];

const element = (id) => document.getElementById(id);
const cards = new Map();
/** Ids of the numbers that were created on this page and are not connected yet. */
const newNumbers = new Set(session.load(STORAGE_KEY) ?? []);
const live = new api.LiveList(render, showOutage);
let loaded = false;
let busy = false;

/** Say that the list may be out of date, and what happens next. */
function showOutage(online, status) {
  element("offline").hidden = online;
  if (!online) element("offline").textContent = translate(status === 503 ? "unavailable" : "offline");
}

function showSection(id) {
  for (const each of SECTIONS) element(each).hidden = each !== id;
  element("sign-out").hidden = id !== "panel" || session.embedded;
}

function start() {
  showSection(loaded ? "panel" : "loading");
  live.start();
}

/** Show the sign-in, or ask the embedding application for a session. `detail` is set if one expired. */
function showSignIn(detail) {
  live.stop();
  loaded = false;
  render([]);
  if (session.embedded) {
    session.postToParent({ type: "wpp-session-needed" });
    showSection("waiting-for-session");
    return;
  }
  showSection("sign-in");
  if (detail !== undefined) showSignInError(translate("sessionExpired"));
  element("credentials").elements.email.focus();
}

function showSignInError(text) {
  element("sign-in-error").textContent = text;
  element("sign-in-error").hidden = !text;
}

async function signIn(authenticate) {
  showSignInError("");
  try {
    await authenticate();
    await api.list();
    start();
  } catch (error) {
    session.signOut();
    showSection("sign-in");
    const reason = error.refused ? "wrongPassword" : error.status === 401 ? "noOrganization" : "unreachable";
    showSignInError(translate(reason));
  }
}

function markNew(id, isNew) {
  if (isNew) newNumbers.add(id); else newNumbers.delete(id);
  session.store(STORAGE_KEY, [...newNumbers]);
}

/** Update the page to a list of numbers; cards are reused, so that input in them is not lost. */
function render(numbers) {
  if (session.signedIn() && !loaded) { loaded = true; showSection("panel"); }
  const ids = new Set(numbers.map((each) => each.integration_id));
  for (const [id, card] of cards) {
    if (!ids.has(id)) { card.root.remove(); cards.delete(id); markNew(id, false); }
  }
  for (const number of numbers) {
    const id = number.integration_id;
    const card = cards.get(id);
    if (card) announceChange(card, number);
    else cards.set(id, new Card(number, perform));
    cards.get(id).isNew = newNumbers.has(id);
    cards.get(id).update(number);
  }
  const sorted = numbers.map((each) => cards.get(each.integration_id));
  sorted.sort((a, b) => Number(b.awaitsScan) - Number(a.awaitsScan));
  const children = element("numbers").children;
  sorted.forEach((card, at) => {
    if (children[at] !== card.root) element("numbers").insertBefore(card.root, children[at] ?? null);
  });
  renderFrame(numbers);
}

function renderFrame(numbers) {
  const connecting = numbers.some(
    (each) => newNumbers.has(each.integration_id) && cards.get(each.integration_id).awaitsScan,
  );
  element("empty").hidden = numbers.length > 0;
  element("numbers").hidden = numbers.length === 0;
  element("summary").textContent = numbers.length ? translate("summary", { n: numbers.length }) : "";
  element("add-text").textContent = translate(numbers.length ? "connectAnother" : "connect");
  element("add").hidden = !numbers.length || connecting;
  if (session.signedIn()) {
    session.postToParent({ type: "wpp-height", height: document.documentElement.scrollHeight });
  }
}

/** Announce a change of status, visibly or to screen readers. */
function announceChange(card, number) {
  const status = number.status;
  if (card.number.status === status) return;
  if (status === "connected") {
    toast(translate("toastConnected", { name: number.name || card.name }), "good");
    if (card.isNew) card.test.offer(number);
    markNew(number.integration_id, false);
    session.postToParent({ type: "wpp-connected", integration_id: number.integration_id });
  } else {
    element("announcement").textContent = status === "qr_issued"
      ? translate("qrReady", { name: card.name })
      : `${card.name}: ${translateCause(number.cause, "badge") || translateState(status)}`;
  }
}

function toast(text, kind = "") {
  const shown = document.createElement("p");
  shown.className = `toast ${kind}`;
  shown.textContent = text;
  element("toasts").append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

/** Run one call of the API at a time, show its error or `success`, and refresh the list. */
async function run(call, success) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    const answer = await call();
    if (success) toast(success);
    return answer;
  } catch (error) {
    if (error.status !== 401) {
      toast(translate("toastFailed", { error: error.message || translate("unreachable") }), "bad");
    }
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
    await live.refresh();
  }
}

async function connect(values) {
  const answer = await run(() => api.connect(values));
  if (!answer) return;
  if (answer.status !== "connected") markNew(answer.integration_id, !values.integration_id);
  await live.refresh();
  const card = cards.get(answer.integration_id);
  card?.root.scrollIntoView({ block: "nearest", behavior: "smooth" });
  card?.find("[data-do=cancel]").focus({ preventScroll: true });
}

const add = () => connect(cards.size ? { add_new: true } : {});

/** Ask a question; `yes` is the text of the button that agrees. Escape declines, and the browser
 *  returns the focus to where it was. */
async function ask(title, texts, yes, kind) {
  element("question-title").textContent = title;
  element("question-text").replaceChildren(...texts.map((text) => {
    const line = document.createElement("p");
    line.textContent = text;
    return line;
  }));
  element("question-yes").textContent = yes;
  element("question-yes").className = kind;
  element("question").returnValue = "no";
  element("question").showModal();
  await new Promise((resolve) => element("question").addEventListener("close", resolve, { once: true }));
  return element("question").returnValue === "yes";
}

const confirmPause = (name) => ask(
  translate("pauseTitle", { name }), [translate("pauseKeeps"), translate("pauseLoses")], translate("pause"), "primary",
);

/** Ask twice: what is kept and lost, then whether it is really meant. */
const confirmRemove = async (name) =>
  (await ask(
    translate("removeTitle", { name }), [translate("removeKeeps"), translate("removeLoses")], translate("remove"), "danger",
  )) && ask(translate("removeAgainTitle", { name }), [translate("removeAgain")], translate("removeYes"), "danger");

/** Perform an action of a card; `value` is the new name of `rename`. */
async function perform(action, card, value) {
  const { number, name } = card;
  const id = number.integration_id;
  const actions = {
    async fix() {
      if (card.fix === "resume") return actions.toggle();
      card.dismissed = false;
      await run(() => card.fix === "repair"
        ? api.connect({ integration_id: id, force_recreate: true })
        : api.post(id, "reconnect"));
    },
    refresh: () => run(() => api.post(id, "refresh")),
    primary: () => run(() => api.post(id, "primary"), translate("toastPrimary", { name })),
    async toggle() {
      const paused = number.is_enabled === false;
      if (!paused && !(await confirmPause(name))) return;
      await run(() => api.update(id, { is_enabled: paused }), translate(paused ? "toastResumed" : "toastPaused", { name }));
    },
    async rename() {
      if (value.trim()) await run(() => api.update(id, { name: value }), translate("toastSaved"));
    },
    copy() {
      navigator.clipboard?.writeText(number.account_number).then(() => toast(translate("copied")), () => {});
    },
    async cancel() {
      if (card.isNew || !number.account_number) {
        await run(() => api.remove(id), translate("toastCancelled"));
        element(cards.size ? "add" : "add-first").focus();
      } else {
        card.dismissed = true;
        card.update(number);
      }
    },
    async remove() {
      if (!(await confirmRemove(name))) return;
      await run(() => api.remove(id), translate("toastRemoved", { name }));
      element(cards.size ? "add" : "add-first").focus();
    },
  };
  await actions[action]();
}

function translatePage() {
  document.documentElement.lang = language();
  document.title = translate("title");
  translateElements(document);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language()));
  }
  for (const card of cards.values()) card.translate();
  renderFrame([...cards.values()].map((card) => card.number));
}

/** Count down the QR codes, and request a new one once for each that has expired. */
function tick() {
  for (const card of cards.values()) {
    if (!document.hidden && card.tick() && card.refreshedAt !== card.shownAt) {
      card.refreshedAt = card.shownAt;
      api.post(card.number.integration_id, "refresh").catch(() => {});
    }
  }
}

async function main() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => { setLanguage(button.dataset.language); translatePage(); });
  }
  translatePage();
  element("add").addEventListener("click", add);
  element("add-first").addEventListener("click", add);
  element("sign-out").addEventListener("click", () => { session.signOut(); showSignIn(); });
  element("demo").addEventListener("click", () => signIn(session.signInAsDemo));
  element("credentials").addEventListener("submit", (event) => {
    event.preventDefault();
    const { email, password } = event.target.elements;
    signIn(() => session.signIn(email.value, password.value));
  });
  api.onSignedOut(showSignIn);
  setInterval(tick, 1000);
  let settings = null;
  while (!settings) {
    settings = await session.loadSettings().catch(() => new Promise((resolve) => setTimeout(resolve, 2000)));
  }
  element("demo").hidden = element("or").hidden = !settings.demo;
  element("sign-in-button").classList.toggle("primary", !settings.demo); // one primary action
  // A new session may belong to another user, so the stream of the earlier one is closed.
  if (session.embedded) session.acceptSessions(() => { live.stop(); start(); });
  if (session.signedIn()) start(); else showSignIn();
}

main();
