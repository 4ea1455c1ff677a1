// Calls to the API with the session's token, and the stream of integrations with polling as fallback.

import { getToken, signOut } from "./session.js";

const INTEGRATIONS = "v1/integrations";
const MESSAGES = "v1/messages";
const POLL_MS = 3000;
const CHECK_ROUNDS = 10;
const MAX_RETRY_MS = 15000;
const SILENCE_MS = 40000;

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let signedOut = () => {};
export const onSignedOut = (callback) => { signedOut = callback; };

async function request(path, options = {}) {
  const token = await getToken();
  if (!token) { signedOut(); throw new ApiError(401, ""); }
  const response = await fetch(path, {
    cache: "no-store",
    ...options,
    headers: { ...options.headers, Authorization: `Bearer ${token}` },
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) { signOut(); signedOut(problem.detail); }
  throw new ApiError(response.status, problem.detail || response.statusText);
}

const withBody = (method, value, headers = {}) => ({
  method,
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(value),
});
const idempotencyKey = () => ({ "Idempotency-Key": crypto.randomUUID ? crypto.randomUUID() : String(Math.random()) });

const read = async (path, options) => (await request(path, options)).json();
const integration = (id, action = "") => `${INTEGRATIONS}/${id}${action}`;

export const list = () => read(INTEGRATIONS);
export const connect = (values) => read(INTEGRATIONS, withBody("POST", values, idempotencyKey()));
export const update = (id, values) => request(integration(id), withBody("PATCH", values));
export const post = (id, action) => request(integration(id, `/${action}`), { method: "POST" });
export const remove = (id) => request(integration(id), { method: "DELETE" });
export const qrImage = async (id) => (await request(integration(id, "/qr.svg"))).blob();
export const send = (message) => read(MESSAGES, withBody("POST", message, idempotencyKey()));
export const message = (id) => read(`${MESSAGES}/${id}`);
export const messageHistory = (id) => read(`${MESSAGES}/${id}/history`);

/** Return the states of a number before `until`, the newest first; null: from the newest on. */
export const history = (id, limit, until) => {
  const before = until ? `&until=${encodeURIComponent(until)}` : "";
  return read(integration(id, `/history?limit=${limit}${before}`));
};

/** Keeps the list up to date: by the stream, by polling while there is none, not while the page is hidden. */
export class LiveList {
  /** `onList` receives each list; `onOnline` whether there was one, and else the HTTP status. */
  constructor(onList, onOnline) {
    this.onList = onList;
    this.onOnline = onOnline;
    this.controller = null;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.resume()));
  }

  start() { this.started = true; this.resume(); }
  stop() { this.started = false; this.pause(); }

  pause() {
    this.controller?.abort();
    this.controller = null;
  }

  resume() {
    if (!this.started || this.controller || document.hidden) return;
    this.controller = new AbortController();
    this.follow(this.controller.signal);
    this.poll(this.controller.signal);
  }

  async refresh(signal) {
    try {
      const found = await list();
      if (!signal?.aborted) { this.onOnline(true); this.onList(found); }
    } catch (error) {
      if (!signal?.aborted && error.status !== 401) this.onOnline(false, error.status);
    }
  }

  async poll(signal) {
    for (let round = 0; !signal.aborted; round += 1) {
      // A stream is silent while the database is away, so it is not enough for ever.
      if (!this.streaming || round % CHECK_ROUNDS === CHECK_ROUNDS - 1) await this.refresh(signal);
      await sleep(POLL_MS, signal);
    }
  }

  async follow(signal) {
    for (let delay = 500; !signal.aborted; delay = Math.min(delay * 2, MAX_RETRY_MS)) {
      const started = Date.now();
      try { await this.readStream(signal); } catch { /* polling continues meanwhile */ }
      this.streaming = false;
      if (Date.now() - started > MAX_RETRY_MS) delay = 500;
      await sleep(delay, signal);
    }
  }

  /** Read the stream until it ends. A stream without data or comments for `SILENCE_MS` is dead. */
  async readStream(signal) {
    const timeout = new AbortController();
    signal.addEventListener("abort", () => timeout.abort());
    const response = await request(integration("events"), { signal: timeout.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const timer = setTimeout(() => timeout.abort(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(timer));
      if (done || signal.aborted) return;
      this.streaming = true;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const lines = event.split("\n").filter((line) => line.startsWith("data: "));
        const data = lines.map((line) => line.slice(6)).join("\n");
        if (data) { this.onOnline(true); this.onList(JSON.parse(data)); }
      }
    }
  }
}

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
