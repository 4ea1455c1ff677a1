// A message: its status, its timeline, and what can be done about it.

import { getJson, postJson } from "./api.js";
import { dropOne, replayOne } from "./dead-letters.js";
import { askTwice } from "./dialog.js";
import { h, redraw } from "./dom.js";
import { poll } from "./live.js";
import { when, whose } from "./parts.js";
import { toast } from "./toast.js";
import { phone } from "./words.js";
import { SETTLEMENTS, settle } from "./unknown.js";

const EVENTS = {
  accepted: "Accepted", attempt: "An attempt began", postponed: "It was not sent yet", sent: "The platform took it",
  delivered: "Delivered to the phone", read: "Read", failed: "It failed", unknown: "Nobody knows whether it went out",
  deleted: "Deleted", cancelled: "Cancelled before it was sent", received: "It arrived", edited: "Edited",
  replaced: "The text before an edit was deleted", reaction: "A reaction", reaction_removed: "A reaction was removed",
};
export const STATES = {
  scheduled: ["Waits for its date", ""], queued: ["Waits to be sent", ""], sent: ["Sent", "good"], delivered: ["Delivered", "good"],
  read: ["Read", "good"], failed: ["Failed", "bad"], unknown: ["Unknown", "warn"], cancelled: ["Cancelled", ""], deleted: ["Deleted", ""],
};

export const stateTag = (status) => {
  const [text, state] = STATES[status] || [status, ""];
  return h("span", { className: "tag", "data-state": state }, text);
};

function describe(event) {
  const words = EVENTS[event.event] || event.event.replaceAll("_", " ");
  const attempt = event.event === "attempt" && event.attempt ? `Attempt ${event.attempt} began` : words;
  return h("li", { "data-event": event.event },
    h("span", { className: "strong" }, attempt, event.emoji ? ` ${event.emoji}` : ""),
    event.error ? h("span", { className: "why" }, event.error) : null,
    h("span", { className: "minor" }, when(event.at), event.source === "platform" ? " · reported by the platform" : "", event.by ? ` · by ${event.by === "self" ? "this number" : phone(event.by)}` : ""));
}

export function showMessage(main, id) {
  const box = h("article", { className: "card message", "aria-busy": "true" });
  main.append(box);

  async function cancel(message) {
    if (!await askTwice({ title: "Cancel this message?", text: "It is taken out of its queue and never sent.", verb: "Cancel it", danger: true })) return;
    try {
      toast((await postJson(`messages/${message.id}/cancel`)).text);
    } catch (error) {
      toast(error.message, "bad");
    }
    stop.now();
  }

  function actions(message) {
    const named = { ...message, to: message.phone || message.letter?.to };
    if (message.status === "unknown") {
      return Object.entries(SETTLEMENTS).map(([outcome, { button }]) =>
        h("button", { type: "button", onclick: async () => { if (await settle(named, outcome)) stop.now(); } }, button));
    }
    if (["queued", "scheduled"].includes(message.status)) return [h("button", { type: "button", onclick: () => cancel(message) }, "Cancel the message")];
    if (message.letter && !message.letter.closed) {
      return [
        h("button", { type: "button", onclick: async () => { if (await replayOne(message.letter)) stop.now(); } }, "Put back"),
        h("button", { type: "button", className: "quiet", onclick: async () => { if (await dropOne(message.letter)) stop.now(); } }, "Drop"),
      ];
    }
    return [];
  }

  function draw(message) {
    if (!message) {
      redraw(box, h("p", {}, `No message has the id ${id}.`));
    } else {
      const to = message.phone || message.letter?.to;
      redraw(box,
        h("div", { className: "row between" }, h("h2", {}, to ? `Message: ${phone(to)}` : "Message"), stateTag(message.status)),
        h("p", { className: "muted" }, whose(message), " · ", h("code", {}, message.id)),
        message.reason ? h("p", { className: "notice" }, message.reason) : "",
        message.letter?.closed ? h("p", { className: "muted" }, `Its dead letter was ${message.letter.closed}, `, when(message.letter.closed_at), ".") : "",
        message.timeline.length ? h("ol", { className: "timeline", "aria-label": "Timeline" }, message.timeline.map(describe)) : h("p", { className: "muted" }, "Nothing is recorded yet."),
        h("div", { className: "row" }, actions(message)));
    }
    box.setAttribute("aria-busy", "false");
  }

  /** The message as it is now; null while nobody knows it. */
  const read = () => getJson(`messages/${id}`).catch((error) => { if (error.status === 404) return null; throw error; });
  const stop = poll(read, draw);
  return stop;
}
