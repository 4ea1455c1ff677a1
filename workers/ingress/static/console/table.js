// Tables: rows side by side on a desk, one below the other on a phone. Pages by cursor.

import { h, redraw } from "./dom.js";
import { number } from "./words.js";

/**
 * `columns`: [{ title, cell: (row) => text or element, className }]; the column of buttons
 * has no title. Returns an element with `show(rows)`. `label` names it for readers, `empty` is shown without rows.
 */
export function table({ columns, label, empty }) {
  const body = h("tbody");
  const name = (each) => each.title || h("span", { className: "visually-hidden" }, "Actions");
  const head = h("thead", {}, h("tr", {}, columns.map((each) => h("th", { scope: "col", className: each.className }, name(each)))));
  const drawn = h("table", { "aria-label": label }, head, body);
  const nothing = h("p", { className: "nothing muted" }, empty);
  const element = h("div", { className: "rows" }, drawn, nothing);
  element.show = (rows) => {
    drawn.hidden = rows.length === 0;
    nothing.hidden = rows.length > 0;
    redraw(body, rows.map((row) => h("tr", row.attributes, columns.map((each) =>
      h("td", { "data-title": each.title, className: each.className }, each.cell(row))))));
  };
  element.show([]);
  nothing.hidden = true;
  return element;
}

/** Buttons between the pages of a list: `show({ first, shown, total, next })` after each answer; `onTurn(cursor)`. */
export function pager(onTurn) {
  let before = [];
  let here = null;
  let next = null;
  const turn = (cursor) => { here = cursor; onTurn(cursor); };
  const back = h("button", { type: "button", className: "small", onclick: () => turn(before.pop() ?? null) }, "Previous");
  const on = h("button", { type: "button", className: "small", onclick: () => { before.push(here); turn(next); } }, "Next");
  const said = h("p", { className: "muted" });
  const element = h("div", { className: "pager row" }, said, back, on);
  element.reset = () => { before = []; here = null; };
  element.show = ({ first, shown, total, next: cursor }) => {
    next = cursor ?? null;
    const last = first + shown - 1;
    said.textContent = shown ? `${number(first)}–${number(last)}${total === undefined || total === null ? "" : ` of ${number(total)}`}` : "";
    back.disabled = here === null;
    on.disabled = next === null;
    element.hidden = here === null && next === null;
  };
  element.hidden = true;
  return element;
}
