// A test message to the user's own phone, sent like any other message; its way is shown as it happens.

import * as api from "./api.js";
import * as session from "./session.js";
import { formatTime, translate, translateCause, translateFailure } from "./words.js";

const STORAGE_KEY = "wpp-own-phone";
const STEPS = ["queued", "sent", "delivered", "read"];
const ENDS = ["read", "failed", "unknown", "cancelled", "deleted"];
const POLL_MS = 1000;
const SLOW_POLL_MS = 5000;
const QUICK_POLLS = 60;
const RENAMED = { accepted: "queued" };

export class TestMessage {
  constructor(root, button) {
    this.root = root;
    this.button = button;
    this.message = null;
    this.times = {};
    this.form = root.querySelector("form");
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    root.querySelector(".close").addEventListener("click", () => this.leave());
    root.addEventListener("keydown", (event) => { if (event.key === "Escape") this.leave(); });
  }

  get open() { return !this.root.hidden; }

  toggle(number) {
    this.offer(number, !this.open);
    if (this.open) this.form.elements.phone.focus();
  }

  /** Open or close the panel; the focus stays where it is. */
  offer(number, open = true) {
    this.number = number;
    if (open && !this.form.elements.phone.value) {
      this.form.elements.phone.value = session.load(STORAGE_KEY) ?? (number.phone ? `+${number.phone}` : "");
    }
    this.show(open);
  }

  show(open) {
    this.root.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
  }

  leave() {
    this.show(false);
    this.button.focus();
  }

  async send() {
    const phone = this.form.elements.phone.value.trim();
    if (this.sending) return; // a disabled button would lose the focus
    this.sending = true;
    this.say("");
    try {
      const accepted = await api.send({
        to: phone, text: translate("testText"), integration_id: this.number.integration_id,
      });
      session.store(STORAGE_KEY, phone);
      this.times = {};
      this.follow({ ...accepted, status: "queued" });
    } catch (error) {
      if (error.status !== 401) this.say(translate("toastFailed", { error: error.message || translate("unreachable") }));
    } finally {
      this.sending = false;
    }
  }

  /** Look at the message until it ends, another one is sent, or the panel is closed. */
  async follow(message) {
    this.message = message;
    this.render();
    const { id } = message;
    for (let polls = 0; this.message.id === id && !ENDS.includes(this.message.status); polls += 1) {
      await new Promise((resolve) => setTimeout(resolve, polls < QUICK_POLLS ? POLL_MS : SLOW_POLL_MS));
      if (!this.open || !this.root.isConnected) return;
      if (document.hidden) continue;
      const [found, events] = await Promise.all([api.message(id), api.messageHistory(id)]).catch(() => [null]);
      if (!found || this.message.id !== id) continue;
      this.message = found;
      for (const each of events) this.times[RENAMED[each.event] ?? each.event] ??= each.at;
      this.render();
    }
  }

  say(text) {
    this.root.querySelector(".error-text").textContent = text;
    this.root.querySelector(".error-text").hidden = !text;
  }

  render() {
    const { message } = this;
    this.root.querySelector(".way").hidden = !message;
    if (!message) return;
    const reached = STEPS.indexOf(message.status);
    const steps = reached < 0 && message.status !== "scheduled" ? ["queued", message.status] : STEPS;
    const present = reached < 0 ? steps.length - 1 : reached;
    this.root.querySelector(".way").replaceChildren(...steps.map((step, at) => this.showStep(step, at <= present)));
    this.root.querySelector(".way-text").textContent = this.explain();
    const detail = message.reason ? translate("technical", { text: message.reason }) : "";
    this.root.querySelector(".way-detail").textContent = detail;
  }

  /** Return why the message waits or did not arrive; "" while it is on its way. */
  explain() {
    const { status, code, reason } = this.message;
    if (status === "failed" || status === "cancelled") return translateFailure(code);
    if (status === "unknown") return translateFailure("unknown");
    if (status !== "queued" || !reason) return "";
    return translateCause(this.number.cause, "text") || translate("wayWaits");
  }

  showStep(step, done) {
    const item = document.createElement("li");
    item.dataset.step = step;
    item.classList.toggle("done", done);
    const [word, time] = ["b", "span"].map((tag) => document.createElement(tag));
    word.textContent = translate(`way_${step}`);
    time.textContent = this.times[step] ? formatTime(this.times[step]) : done ? "" : translate("wayComing");
    item.append(word, time);
    return item;
  }
}
