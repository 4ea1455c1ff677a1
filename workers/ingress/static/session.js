// Who is signed in. Tokens come from Supabase, or from the application around this page; the page itself has none.

const KEPT = "wpp-session";
const EARLY_S = 60;

export const embedded = window.parent !== window;

let settings = null;
let session = recall(KEPT);
let renewing = null;

/** What this tab has kept. In a frame nothing is: who is signed in there, the application around it knows, and it may
 *  be somebody else by now. */
export function recall(key) {
  if (embedded) return null;
  try { return JSON.parse(sessionStorage.getItem(key)); } catch { return null; }
}
export function retain(key, value) {
  if (embedded) return;
  try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* forgotten, then */ }
}

export async function open() {
  settings = await (await fetch("connect/settings.json")).json();
  return settings;
}

export const signedIn = () => session !== null;

export function leave() {
  session = null;
  retain(KEPT, null);
}

function keep(answer) {
  const until = answer.expires_at ?? Date.now() / 1000 + (answer.expires_in ?? 3600);
  session = { access_token: answer.access_token, refresh_token: answer.refresh_token, until };
  retain(KEPT, session);
}

/** Ask Supabase for a session; raises an error whose `refused` says whether it was the caller's fault. */
async function ask(grant, body) {
  const answer = await fetch(`${settings.supabase_url}/auth/v1/token?grant_type=${grant}`, {
    method: "POST",
    headers: { apikey: settings.anon_key, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw Object.assign(new Error("sign-in"), { refused: answer.status < 500 && answer.status !== 429 });
  keep(await answer.json());
}

export const signIn = (email, password) => ask("password", { email, password });
export const demo = () => ask("password", settings.demo);

/** The token to call with, renewed in time; null when there is no session (any more). */
export async function bearer() {
  if (!session) return null;
  if (session.until - Date.now() / 1000 > EARLY_S || !session.refresh_token) return session.access_token;
  renewing ??= ask("refresh_token", { refresh_token: session.refresh_token })
    .catch((error) => { if (error.refused) leave(); })
    .finally(() => { renewing = null; });
  await renewing;
  return session?.access_token ?? null;
}

/** Take the session that the application around this page hands over, from an origin that may. */
export function accept(handed) {
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || !settings.parents.includes(event.origin)) return;
    if (event.data?.type !== "wpp-session" || typeof event.data.access_token !== "string") return;
    keep({ ...event.data, refresh_token: null });
    handed();
  });
  tell({ type: "wpp-ready" });
}

/** Tell the application around this page what happened; it never learns a key or a token from here. */
export function tell(message) {
  if (embedded) for (const origin of settings.parents) window.parent.postMessage(message, origin);
}
