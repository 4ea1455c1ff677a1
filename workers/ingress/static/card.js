// One number on the page: made once, then brought up to date, so that nobody loses what they are typing.

import * as api from "./api.js";
import { ago, because, clock, label, say } from "./words.js";

const AWAITING = ["starting", "qr_issued"];
const PATIENCE_S = 8;

export class Card {
  /** `ask(what, card)` is called with what a person wants of this number. */
  constructor(number, ask) {
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.number = number;
    this.since = Date.now();
    this.shownAt = null;
    this.folded = false;
    for (const button of this.root.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.pressed(button.dataset.do, ask));
    }
    this.find(".rename").addEventListener("submit", (event) => {
      event.preventDefault();
      ask("name", this, event.target.elements.name.value);
      this.rename(false);
    });
    this.say();
  }

  find(selector) { return this.root.querySelector(selector); }
  get name() { return this.number.name || say("unnamed"); }
  get awaits() { return AWAITING.includes(this.number.status) && !this.number.closing && !this.folded; }

  pressed(what, ask) {
    if (what === "rename") this.rename(true);
    else if (what === "rename-not") this.rename(false);
    else if (what === "history") this.unfold();
    else ask(what, this);
  }

  rename(open) {
    const form = this.find(".rename");
    form.hidden = !open;
    this.find(".name-row").hidden = open;
    if (open) {
      form.elements.name.value = this.name;
      form.elements.name.select();
    } else {
      this.find("[data-do=rename]").focus();
    }
  }

  say() {
    label(this.root);
    this.find(".rename input").setAttribute("aria-label", say("newName"));
    this.update(this.number);
  }

  update(number) {
    if (number.status !== this.number.status) this.since = Date.now();
    if (!AWAITING.includes(number.status)) this.folded = false;
    this.number = number;
    this.root.dataset.status = number.closing ? "closing" : number.status;
    this.root.dataset.id = number.integration_id;
    this.texts();
    this.scan();
    this.wrong();
    this.buttons();
    this.tick();
  }

  texts() {
    const { number } = this;
    this.find(".name").textContent = this.name;
    this.find(".account").hidden = !number.account_number;
    this.find(".account-word").textContent = say("account");
    this.find("code").textContent = number.account_number ?? "";
    this.find("[data-do=rename]").hidden = !number.account_number;
    this.badge(".state", say(number.closing ? "closing" : number.status));
    this.badge(".star", number.is_primary ? say("primary") : "");
    this.badge(".off", number.is_enabled === false ? say("off") : "");
    this.find("[data-do=rename]").setAttribute("aria-label", say("rename", { name: this.name }));
    this.find("[data-do=copy]").setAttribute("aria-label", say("copy", { name: this.name }));
    this.find(".how-title").textContent = say("scanTitle");
  }

  badge(which, text) {
    this.find(which).textContent = text;
    this.find(which).hidden = !text;
  }

  async scan() {
    const { number } = this;
    this.find(".scan").hidden = !this.awaits;
    if (!this.awaits || number.status !== "qr_issued") {
      this.shownAt = null;
      this.find(".code img").hidden = true;
      return;
    }
    if (this.shownAt === number.qr_issued_at) return;
    this.shownAt = number.qr_issued_at;
    const image = this.find(".code img");
    try {
      const drawn = URL.createObjectURL(await api.code(number.integration_id));
      if (image.src) URL.revokeObjectURL(image.src);
      image.src = drawn;
      image.alt = say("codeAlt", { name: this.name });
      image.hidden = false;
      this.tick();
    } catch { this.shownAt = null; /* it may have been scanned meanwhile; the next state says so */ }
  }

  wrong() {
    const { number } = this;
    const amiss = ["disconnected", "degraded", "error"].includes(number.status) && !number.closing;
    this.find(".wrong-box").hidden = !amiss;
    if (!amiss) return;
    const why = number.next_step === "force_recreate" ? "key" : number.status;
    this.find(".wrong-text").textContent = say(`why_${why}`, { error: number.error || because(number.reason) || "" });
    const mend = number.account_number ? number.next_step : "retry";
    this.find("[data-do=mend]").textContent = say(`mend_${mend}`);
    this.find(".wrong-box [data-do=cancel]").hidden = Boolean(number.account_number);
  }

  buttons() {
    const { number } = this;
    const saved = Boolean(number.account_number) && !number.closing;
    this.find(".foot").hidden = !saved || (this.awaits && this.isNew);
    this.find("[data-do=primary]").hidden = number.is_primary !== false;
    this.find("[data-do=switch]").textContent = say(number.is_enabled === false ? "switchOn" : "switchOff");
    this.find(".scan [data-do=cancel]").textContent = say(this.isNew || !saved ? "cancel" : "later");
    this.find("[data-do=refresh]").hidden = number.status !== "qr_issued";
    this.root.classList.toggle("new", this.awaits);
    const life = [["lifeIn", number.last_inbound_at], ["lifeAck", number.last_ack_at]].filter(([, at]) => at);
    this.find(".life").hidden = !saved || AWAITING.includes(number.status);
    this.find(".life").textContent = life.map(([key, at]) => say(key, { when: ago(at) })).join(" · ") || say("lifeNone");
  }

  /** What changes by itself: how long the code is still good for. Returns true when a new one has to be asked for. */
  tick() {
    const { number } = this;
    if (!this.awaits) return false;
    const left = number.qr_expires_at ? Math.ceil((new Date(number.qr_expires_at) - Date.now()) / 1000) : 0;
    const shown = number.status === "qr_issued" && !this.find(".code img").hidden;
    const valid = shown && left > 0;
    this.find(".code").setAttribute("aria-busy", String(!valid));
    this.find(".code").classList.toggle("old", shown && !valid);
    const late = number.status === "starting" && Date.now() - this.since > PATIENCE_S * 1000;
    this.find(".code-note").textContent = valid ? "" : say(late ? "waitsFor" : shown ? "renewing" : "preparing");
    this.find(".renews").textContent = valid ? say("renews", { n: left }) : "";
    return shown && left < -4;
  }

  async unfold() {
    const open = this.find(".history").hidden;
    this.find(".history").hidden = !open;
    this.find("[data-do=history]").setAttribute("aria-expanded", String(open));
    if (!open) return;
    const rows = await api.history(this.number.integration_id).catch(() => []);
    const items = rows.map((row) => {
      const item = document.createElement("li");
      item.dataset.status = row.status;
      const [state, why, time] = ["b", "span", "time"].map((tag) => document.createElement(tag));
      state.textContent = say(row.status);
      why.textContent = row.error || because(row.reason);
      time.textContent = clock(row.at);
      time.dateTime = row.at;
      item.append(state, why, time);
      return item;
    });
    this.find(".history").replaceChildren(...items);
    if (!items.length) this.find(".history").textContent = say("noHistory");
  }
}
