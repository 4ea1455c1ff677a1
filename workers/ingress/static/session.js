// The session: from Supabase, or from the application that embeds the page. The page has no token of its own.

const STORAGE_KEY = "wpp-session";
const RENEW_BEFORE_S = 60;

export const embedded = window.parent !== window;

let settings = null;
let session = load(STORAGE_KEY);
let renewing = null;

/** Read a value that this tab has stored. An embedded page stores nothing: the application that
 *  embeds it knows the user, who may be a different one next time. */
export function load(key) {
  if (embedded) return null;
  try { return JSON.parse(sessionStorage.getItem(key)); } catch { return null; }
}
export function store(key, value) {
  if (embedded) return;
  try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* used until the page is closed */ }
}

export async function loadSettings() {
  settings = await (await fetch("connect/settings.json")).json();
  return settings;
}

export const signedIn = () => session !== null;

export function signOut() {
  session = null;
  store(STORAGE_KEY, null);
}

function setSession(tokens) {
  const expires_at = tokens.expires_at ?? Date.now() / 1000 + (tokens.expires_in ?? 3600);
  session = { access_token: tokens.access_token, refresh_token: tokens.refresh_token, expires_at };
  store(STORAGE_KEY, session);
}

/** Get a session from Supabase; throws an error whose `refused` says whether the credentials are wrong. */
async function authenticate(grant, body) {
  const response = await fetch(`${settings.supabase_url}/auth/v1/token?grant_type=${grant}`, {
    method: "POST",
    headers: { apikey: settings.anon_key, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) {
    const refused = response.status < 500 && response.status !== 429;
    throw Object.assign(new Error("sign-in"), { refused });
  }
  setSession(await response.json());
}

export const signIn = (email, password) => authenticate("password", { email, password });
export const signInAsDemo = () => authenticate("password", settings.demo);

/** Return a valid access token, renewed if necessary, or null without a session. */
export async function getToken() {
  if (!session) return null;
  const valid = session.expires_at - Date.now() / 1000 > RENEW_BEFORE_S;
  if (valid || !session.refresh_token) return session.access_token;
  renewing ??= authenticate("refresh_token", { refresh_token: session.refresh_token })
    .catch((error) => { if (error.refused) signOut(); })
    .finally(() => { renewing = null; });
  await renewing;
  return session?.access_token ?? null;
}

/** Accept sessions from the application that embeds the page, if its origin is allowed. */
export function acceptSessions(onSession) {
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || !settings.parents.includes(event.origin)) return;
    if (event.data?.type !== "wpp-session" || typeof event.data.access_token !== "string") return;
    setSession({ ...event.data, refresh_token: null });
    onSession();
  });
  postToParent({ type: "wpp-ready" });
}

/** Send a message to the application that embeds the page; it never contains a key or a token. */
export function postToParent(message) {
  if (embedded) for (const origin of settings.parents) window.parent.postMessage(message, origin);
}
