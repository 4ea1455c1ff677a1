// One number on the page. Its elements are created once and then updated, so that input is not lost.

import * as api from "./api.js";
import { History } from "./history.js";
import { TestMessage } from "./test-message.js";
import { formatAge, formatPhone, formatTime, translate, translateCause, translateElements, translateState } from "./words.js";

const AWAITING_SCAN = ["starting", "qr_issued"];
const PROBLEMS = ["disconnected", "degraded", "error"];
const SLOW_START_S = 8;
/** The button that mends a cause; `reconnect` mends the rest, and nothing mends an outage. */
const FIXES = {
  platform_away: null,
  code_expired: "code",
  unlinked: "link",
  key_refused: "repair",
  session_failed: "retry",
  blocked: "retry",
  refused: "retry",
  route_missing: "retry",
  expired: "retry",
  internal_error: "retry",
};

export class Card {
  /** `perform(action, card, value)` is called for each action of the user. */
  constructor(number, perform) {
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.number = number;
    this.statusSince = Date.now();
    this.shownAt = null;
    this.dismissed = false;
    this.history = new History(this.find(".history"), this.find("[data-do=history]"));
    this.test = new TestMessage(this.find(".test"), this.find("[data-do=test]"));
    for (const button of this.root.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.handle(button.dataset.do, perform));
    }
    this.find(".rename").addEventListener("submit", (event) => {
      event.preventDefault();
      perform("rename", this, event.target.elements.name.value);
      this.showRename(false);
    });
    this.find(".rename").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.showRename(false);
    });
    this.translate();
  }

  find(selector) { return this.root.querySelector(selector); }
  get name() { return this.number.name || translate("unnamed"); }

  get awaitsScan() {
    return AWAITING_SCAN.includes(this.number.status) && !this.number.closing && !this.dismissed;
  }

  /** Whether there is a code that can be scanned now. */
  get showsCode() {
    const { number } = this;
    const valid = number.qr_expires_at && new Date(number.qr_expires_at) > Date.now();
    return number.status === "qr_issued" && !this.find(".code img").hidden && Boolean(valid);
  }

  /** What the box is about: a problem of the number, an outage while it is connected, or a pause. */
  get trouble() {
    const { number } = this;
    const isKnown = Boolean(translateCause(number.cause, "text"));
    if (number.closing) return null;
    if (PROBLEMS.includes(number.status) || (number.status === "connected" && isKnown)) return "cause";
    return number.is_enabled === false && !this.awaitsScan ? "paused" : null;
  }

  handle(action, perform) {
    if (action === "edit-name") this.showRename(true);
    else if (action === "cancel-name") this.showRename(false);
    else if (action === "history") this.history.toggle(this.number);
    else if (action === "test") this.test.toggle(this.number);
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
    this.history.render();
    this.test.render();
    this.update(this.number);
  }

  update(number) {
    if (number.status !== this.number.status) this.statusSince = Date.now();
    if (!AWAITING_SCAN.includes(number.status)) this.dismissed = false;
    this.number = number;
    this.root.dataset.status = number.closing ? "closing" : number.status;
    this.root.dataset.cause = number.cause;
    this.root.dataset.id = number.integration_id;
    this.updateHead();
    this.updateQr();
    this.updateTrouble();
    this.updateButtons();
    this.history.update(number);
    this.test.number = number;
    this.tick();
  }

  updateHead() {
    const { number } = this;
    const state = translateCause(number.cause, "badge") || translateState(number.status);
    this.find(".name").textContent = this.name;
    this.find(".phone").hidden = !number.phone;
    this.find(".phone").textContent = number.phone ? formatPhone(number.phone) : "";
    this.find(".details").hidden = !number.account_number;
    this.find("code").textContent = number.account_number ?? "";
    this.find("[data-do=edit-name]").hidden = !number.account_number;
    this.setBadge(".state", number.closing ? translate("closing") : state);
    this.setBadge(".star", number.is_primary ? translate("primary") : "");
    this.setBadge(".off", number.is_enabled === false ? translate("paused") : "");
    this.find("[data-do=edit-name]").setAttribute("aria-label", translate("rename", { name: this.name }));
    this.find("[data-do=copy]").setAttribute("aria-label", translate("copyAccount", { name: this.name }));
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

  /** Say what is wrong, since when, and which button mends it. */
  updateTrouble() {
    const { number, trouble } = this;
    this.find(".problem").hidden = !trouble;
    if (!trouble) return;
    const paused = trouble === "paused";
    const since = number.cause_at ?? number.error_at ?? number.status_at;
    this.find(".problem-text").textContent = paused
      ? translate("pausedText")
      : translateCause(number.cause, "text") || number.advice || translateState(number.status);
    this.find(".problem-since").textContent =
      paused || !since ? "" : translate("since", { when: formatTime(since) });
    const detail = paused || number.status === "connected" ? "" : number.error ?? "";
    this.find(".problem-detail").textContent = detail ? translate("technical", { text: detail }) : "";
    this.showFix(paused ? "resume" : number.cause in FIXES ? FIXES[number.cause] : "reconnect");
    this.find(".problem [data-do=cancel]").hidden = Boolean(number.account_number);
  }

  showFix(fix) {
    const button = this.find(".problem .primary");
    button.hidden = !fix;
    button.textContent = fix ? translate(`fix_${fix}`) : "";
    this.fix = fix;
  }

  updateButtons() {
    const { number } = this;
    const saved = Boolean(number.account_number) && !number.closing;
    const working = number.status === "connected" && number.is_enabled !== false;
    this.find(".foot").hidden = !saved || (this.awaitsScan && this.isNew);
    this.find("[data-do=primary]").hidden = number.is_primary !== false;
    this.find(".foot [data-do=toggle]").textContent = translate(number.is_enabled === false ? "resume" : "pause");
    this.find("[data-do=test]").hidden = !working;
    if (number.status !== "connected" || number.closing) this.test.show(false);
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
    const valid = this.showsCode;
    this.find(".code").setAttribute("aria-busy", String(!valid));
    this.find(".code").classList.toggle("old", shown && !valid);
    const slow = number.status === "starting" && Date.now() - this.statusSince > SLOW_START_S * 1000;
    this.find(".code-note").textContent = valid ? "" : translate(shown ? "renewing" : "preparing");
    this.find(".renews").textContent = valid ? translate("renewsIn", { n: left }) : "";
    this.explainScan(valid, shown, slow);
    return shown && left < -4;
  }

  /** Ask for the scan only while there is a code; else say what the number waits for. */
  explainScan(valid, shown, slow) {
    this.find(".how ol").hidden = !valid;
    const { cause } = this.number;
    const title = translate(valid ? "scanTitle" : shown ? "renewingTitle" : "preparingTitle");
    this.find(".how-title").textContent = (!shown && translateCause(cause, "badge")) || title;
    const waits = translateCause(cause, "start") || translateCause(cause, "text") || translate(slow ? "takesLong" : "preparingText");
    this.find(".how-text").textContent = valid || shown ? "" : waits;
  }
}
