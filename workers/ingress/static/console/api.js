// Requests of the console. The session is a cookie; each change names its token.

export class ConsoleError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let session = null;
const leave = () => location.replace("console/sign-in");

async function request(path, options = {}) {
  const response = await fetch(`console/${path}`, { cache: "no-store", ...options });
  if (response.status === 401) { leave(); throw new ConsoleError(401, "Sign in again."); }
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  throw new ConsoleError(response.status, problem.detail || `The server answered ${response.status}.`);
}

/** Who is signed in; read once. */
export async function getSession() {
  session ??= await request("session");
  return session;
}

/** `getJson("numbers", { state: "error" })` reads /console/data/numbers; empty parameters are left out, lists repeated. */
export function getJson(path, parameters = {}) {
  const listed = Object.entries(parameters).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  const given = listed.filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  return request(`data/${path}${query ? `?${query}` : ""}`);
}

async function post(path, value) {
  const { csrf_token: token } = await getSession();
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token };
  return request(path, { method: "POST", headers, body: JSON.stringify(value ?? {}) });
}

/** A change: POST /console/data/<path>. Throws a ConsoleError whose message is for people. */
export const postJson = (path, value) => post(`data/${path}`, value);

export async function signOut() {
  await post("sign-out");
  leave();
}
