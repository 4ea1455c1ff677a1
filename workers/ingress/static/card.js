// One number on the page. Its elements are created once and then updated, so that input is not lost.

import * as api from "./api.js";
import { formatAge, formatTime, translate, translateElements, translateReason } from "./words.js";

const AWAITING_SCAN = ["starting", "qr_issued"];
const PROBLEMS = ["disconnected", "degraded", "error"];
const SLOW_START_S = 8;

export class Card {
  /** `perform(action, card, value)` is called for each action of the user. */
  constructor(number, perform) {
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.number = number;
    this.statusSince = Date.now();
    this.shownAt = null;
    this.dismissed = false;
    for (const button of this.root.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.handle(button.dataset.do, perform));
    }
    this.find(".rename").addEventListener("submit", (event) => {
      event.preventDefault();
      perform("rename", this, event.target.elements.name.value);
      this.showRename(false);
    });
    this.translate();
  }

  find(selector) { return this.root.querySelector(selector); }
  get name() { return this.number.name || translate("unnamed"); }

  get awaitsScan() {
    return AWAITING_SCAN.includes(this.number.status) && !this.number.closing && !this.dismissed;
  }

  handle(action, perform) {
    if (action === "edit-name") this.showRename(true);
    else if (action === "cancel-name") this.showRename(false);
    else if (action === "history") this.toggleHistory();
    else perform(action, this);
  }

  showRename(open) {
    const form = this.find(".rename");
    form.hidden = !open;
    this.find(".name-row").hidden = open;
    if (open) {
      form.elements.name.value = this.name;
      form.elements.name.select();
    } else {
      this.find("[data-do=edit-name]").focus();
    }
  }

  translate() {
    translateElements(this.root);
    this.find(".rename input").setAttribute("aria-label", translate("numberName"));
    this.update(this.number);
  }

  update(number) {
    if (number.status !== this.number.status) this.statusSince = Date.now();
    if (!AWAITING_SCAN.includes(number.status)) this.dismissed = false;
    this.number = number;
    this.root.dataset.status = number.closing ? "closing" : number.status;
    this.root.dataset.id = number.integration_id;
    this.updateHead();
    this.updateQr();
    this.updateProblem();
    this.updateButtons();
    this.tick();
  }

  updateHead() {
    const { number } = this;
    this.find(".name").textContent = this.name;
    this.find(".account").hidden = !number.account_number;
    this.find(".account-word").textContent = translate("account");
    this.find("code").textContent = number.account_number ?? "";
    this.find("[data-do=edit-name]").hidden = !number.account_number;
    this.setBadge(".state", translate(number.closing ? "closing" : number.status));
    this.setBadge(".star", number.is_primary ? translate("primary") : "");
    this.setBadge(".off", number.is_enabled === false ? translate("disabled") : "");
    this.find("[data-do=edit-name]").setAttribute("aria-label", translate("rename", { name: this.name }));
    this.find("[data-do=copy]").setAttribute("aria-label", translate("copyAccount", { name: this.name }));
    this.find(".how-title").textContent = translate("scanTitle");
  }

  setBadge(selector, text) {
    this.find(selector).textContent = text;
    this.find(selector).hidden = !text;
  }

  async updateQr() {
    const { number } = this;
    const image = this.find(".code img");
    this.find(".scan").hidden = !this.awaitsScan;
    if (!this.awaitsScan || number.status !== "qr_issued") {
      this.shownAt = null;
      image.hidden = true;
      return;
    }
    if (this.shownAt === number.qr_issued_at) return;
    this.shownAt = number.qr_issued_at;
    try {
      const url = URL.createObjectURL(await api.qrImage(number.integration_id));
      if (image.src) URL.revokeObjectURL(image.src);
      image.src = url;
      image.alt = translate("qrAlt", { name: this.name });
      image.hidden = false;
      this.tick();
    } catch { this.shownAt = null; /* it may have been scanned in between; the next update shows that */ }
  }

  updateProblem() {
    const { number } = this;
    const hasProblem = PROBLEMS.includes(number.status) && !number.closing;
    this.find(".problem").hidden = !hasProblem;
    if (!hasProblem) return;
    const problem = number.next_step === "force_recreate" ? "key" : number.status;
    const error = number.error || translateReason(number.reason) || "";
    this.find(".problem-text").textContent = translate(`problem_${problem}`, { error });
    const fix = number.account_number ? number.next_step : "retry";
    this.find("[data-do=fix]").textContent = translate(`fix_${fix}`);
    this.find(".problem [data-do=cancel]").hidden = Boolean(number.account_number);
  }

  updateButtons() {
    const { number } = this;
    const saved = Boolean(number.account_number) && !number.closing;
    this.find(".foot").hidden = !saved || (this.awaitsScan && this.isNew);
    this.find("[data-do=primary]").hidden = number.is_primary !== false;
    this.find("[data-do=toggle]").textContent = translate(number.is_enabled === false ? "enable" : "disable");
    this.find(".scan [data-do=cancel]").textContent = translate(this.isNew || !saved ? "cancel" : "later");
    this.find("[data-do=refresh]").hidden = number.status !== "qr_issued";
    this.root.classList.toggle("new", this.awaitsScan);
    const times = [["lastInbound", number.last_inbound_at], ["lastAck", number.last_ack_at]];
    const activity = times.filter(([, at]) => at).map(([key, at]) => translate(key, { when: formatAge(at) }));
    this.find(".activity").hidden = !saved || AWAITING_SCAN.includes(number.status);
    this.find(".activity").textContent = activity.join(" · ") || translate("noActivity");
  }

  /** Update the countdown of the QR code; return true once a new one has to be requested. */
  tick() {
    const { number } = this;
    if (!this.awaitsScan) return false;
    const expires = number.qr_expires_at ? new Date(number.qr_expires_at) : Date.now();
    const left = Math.ceil((expires - Date.now()) / 1000);
    const shown = number.status === "qr_issued" && !this.find(".code img").hidden;
    const valid = shown && left > 0;
    this.find(".code").setAttribute("aria-busy", String(!valid));
    this.find(".code").classList.toggle("old", shown && !valid);
    const slow = number.status === "starting" && Date.now() - this.statusSince > SLOW_START_S * 1000;
    this.find(".code-note").textContent = valid
      ? ""
      : translate(slow ? "takesLong" : shown ? "renewing" : "preparing");
    this.find(".renews").textContent = valid ? translate("renewsIn", { n: left }) : "";
    return shown && left < -4;
  }

  async toggleHistory() {
    const open = this.find(".history").hidden;
    this.find(".history").hidden = !open;
    this.find("[data-do=history]").setAttribute("aria-expanded", String(open));
    if (!open) return;
    const rows = await api.history(this.number.integration_id).catch(() => []);
    const items = rows.map((row) => {
      const item = document.createElement("li");
      item.dataset.status = row.status;
      const [status, reason, time] = ["b", "span", "time"].map((tag) => document.createElement(tag));
      status.textContent = translate(row.status);
      reason.textContent = row.error || translateReason(row.reason);
      time.textContent = formatTime(row.at);
      time.dateTime = row.at;
      item.append(status, reason, time);
      return item;
    });
    this.find(".history").replaceChildren(...items);
    if (!items.length) this.find(".history").textContent = translate("noHistory");
  }
}
