// Overview: whether all works, and what waits.

import { getJson } from "./api.js";
import { address } from "./app.js";
import { h, redraw } from "./dom.js";
import { makeHour } from "./hour.js";
import { poll } from "./live.js";
import { count, duration, number } from "./words.js";

const HOUR_EVERY_MS = 10000;

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** A tile: a state, a number, what it means, and the page that tells more. */
function light(label, value, detail, state, href) {
  return h(href ? "a" : "div", { className: "card light", "data-state": state, href },
    h("span", { className: "label" }, label), h("span", { className: "value" }, value), h("span", { className: "detail" }, detail));
}

function describeNumbers(numbers) {
  const down = (numbers.disconnected || 0) + (numbers.error || 0);
  const all = sum(Object.values(numbers));
  const ill = numbers.degraded || 0;
  const detail = [down && `${number(down)} down`, ill && `${number(ill)} degraded`].filter(Boolean).join(", ");
  return light("Numbers", number(all), detail || (all ? "all connected or connecting" : "none yet"), down ? "bad" : ill ? "warn" : "good", address("numbers"));
}

function draw(found) {
  const { state, numbers } = found;
  const waiting = sum(Object.values(state.waiting));
  const held = sum(state.gates.map((gate) => gate.lanes));
  const paced = sum(state.paced.numbers.map((each) => each.waiting));
  const oldest = Math.max(0, ...Object.values(found.oldest));
  return [
    light("Waiting", number(waiting), waiting ? `the oldest for ${duration(oldest)}` : "nothing waits", oldest > 300 ? "warn" : "good", address("lanes")),
    light("Held lanes", number(held), state.gates.length ? count(state.gates.length, "closed gate") : "no gate is closed", held ? "warn" : "good", address("lanes")),
    light("Wait their turn", number(paced), state.scheduled ? `${number(state.scheduled)} more for a later date` : "by the pace of their number", "good", address("lanes")),
    describeNumbers(numbers),
    light("Unknown", number(state.unknown), state.unknown ? "nobody knows whether they went out" : "no message", state.unknown ? "warn" : "good", address("unknown")),
    light("Dead letters", number(found.dead_letters), found.dead_letters ? "ended without success" : "none", found.dead_letters ? "warn" : "good", address("dead-letters")),
    light("On the way to Supabase", number(state.outbox.outcomes), state.outbox.oldest_s ? `the oldest for ${duration(state.outbox.oldest_s)}` : "all is written", state.outbox.oldest_s > 60 ? "warn" : "good"),
  ];
}

export function show(main) {
  const verdict = h("div", { role: "status" });
  const lights = h("div", { className: "lights" });
  const hour = makeHour();
  let read = 0;
  main.append(h("section", { "aria-label": "State" }, verdict, lights), hour);
  /** The state, and with it from time to time the last hour, which changes once a minute. */
  async function look() {
    const isDue = Date.now() - read > HOUR_EVERY_MS;
    const [state, minutes] = await Promise.all([getJson("overview"), isDue ? getJson("hour") : null]);
    if (minutes) { read = Date.now(); hour.show(minutes); }
    return state;
  }
  return poll(look, (found) => {
    const { faults } = found.state;
    redraw(verdict, faults.length
      ? h("ul", { className: "faults" }, faults.map((fault) => h("li", {}, fault)))
      : h("p", { className: "all-well" }, "Every process runs and makes progress."));
    redraw(lights, draw(found));
  });
}
