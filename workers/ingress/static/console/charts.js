// Small charts of the last hour, a value per minute; null where no clock has counted.

import { h, svg } from "./dom.js";

const WIDTH = 590;
const HEIGHT = 100;
const MARGIN = 4;

const known = (values) => values.filter((value) => value !== null);
export const peak = (values) => Math.max(0, ...known(values));
export const total = (values) => known(values).reduce((sum, value) => sum + value, 0);

/** Runs of minutes without a gap between, as points. */
function runs(values, top) {
  const step = WIDTH / Math.max(1, values.length - 1);
  const found = [[]];
  values.forEach((value, minute) => {
    if (value === null) found.push([]);
    else found.at(-1).push([(minute * step).toFixed(1), (HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (top ? value / top : 0)).toFixed(1)]);
  });
  return found.filter((run) => run.length);
}

const join = (run) => run.map((point) => point.join(" ")).join("L");
const line = (values, top) => runs(values, top).map((run) => `M${join(run)}${run.length === 1 ? "h.1" : ""}`).join("");
const area = (values, top) => runs(values, top).map((run) => `M${run[0][0]} ${HEIGHT}L${join(run)}L${run.at(-1)[0]} ${HEIGHT}Z`).join("");

function draw(className, label, content) {
  return svg("svg", { class: className, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, content);
}

/** One or two lines over the hour. `label` says in words what they show. */
export function chart(label, first, second) {
  const top = Math.max(peak(first), second ? peak(second) : 0);
  return draw("graph", label, [
    svg("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}` }),
    svg("path", { class: "area", d: area(first, top) }),
    svg("path", { class: "line", d: line(first, top) }),
    second ? svg("path", { class: "line second", d: line(second, top) }) : null,
  ]);
}

/** A line as high as a word. */
export const spark = (label, values) => draw("spark", label, svg("path", { class: "line", d: line(values, peak(values)) }));

/** What a line of a chart is. */
export const key = (text, isSecond) => h("span", { className: isSecond ? "key second" : "key" }, text);
