// Tells the result of what an operator did.

const SHOWN_MS = 6000;

/** `toast("Replayed 3 dead letters")`, or `toast(error.message, "bad")`. */
export function toast(text, kind = "good") {
  const shown = document.createElement("p");
  shown.className = `toast ${kind}`;
  shown.textContent = text;
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), SHOWN_MS);
}
