// Makes elements. Children are text or elements: nothing is read as HTML, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

/** `h("p", { className: "muted" }, "text", child)` is <p class="muted">. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
/** The same for SVG. */
export const svg = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Replace the children of an element, unless they say the same already: focus and selection stay. */
export function redraw(element, ...children) {
  const next = element.cloneNode(false);
  next.append(...children.flat(Infinity).filter(Boolean));
  if (!element.isEqualNode(next)) element.replaceChildren(...next.childNodes);
}
