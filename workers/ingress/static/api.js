// The door: calls with the session's token, and the stream of changes with polling in its place where it breaks.

import { bearer, leave } from "./session.js";

const NUMBERS = "v1/integrations";
const POLL_MS = 3000;
const SLOWEST_MS = 15000;
const SILENCE_MS = 40000;

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let onLeft = () => {};
export const whenLeft = (told) => { onLeft = told; };

async function ask(path, options = {}) {
  const token = await bearer();
  if (!token) { onLeft(); throw new Refused(401, ""); }
  const answer = await fetch(NUMBERS + path, {
    cache: "no-store",
    ...options,
    headers: { ...options.headers, Authorization: `Bearer ${token}` },
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) { leave(); onLeft(problem.detail); }
  throw new Refused(answer.status, problem.detail || answer.statusText);
}

const body = (method, value, headers = {}) => ({
  method,
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(value),
});
const once = () => ({ "Idempotency-Key": crypto.randomUUID ? crypto.randomUUID() : String(Math.random()) });

export const list = async () => (await ask("")).json();
export const connect = async (wanted) => (await ask("", body("POST", wanted, once()))).json();
export const change = (id, values) => ask(`/${id}`, body("PATCH", values));
export const act = (id, what) => ask(`/${id}/${what}`, { method: "POST" });
export const remove = (id) => ask(`/${id}`, { method: "DELETE" });
export const history = async (id) => (await ask(`/${id}/history?limit=30`)).json();
export const code = async (id) => (await ask(`/${id}/qr.svg`)).blob();

/** Follow the numbers: by the stream; by asking every 3 s while there is none; not at all while nobody looks. */
export class Live {
  constructor(numbers, fresh) {
    this.numbers = numbers;
    this.fresh = fresh;
    this.stop = null;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.go()));
  }

  start() { this.on = true; this.go(); }
  end() { this.on = false; this.pause(); }

  pause() {
    this.stop?.abort();
    this.stop = null;
  }

  go() {
    if (!this.on || this.stop || document.hidden) return;
    this.stop = new AbortController();
    this.follow(this.stop.signal);
    this.poll(this.stop.signal);
  }

  async look(signal) {
    try {
      const found = await list();
      if (!signal?.aborted) { this.fresh(true); this.numbers(found); }
    } catch (error) {
      if (!signal?.aborted && error.status !== 401) this.fresh(false);
    }
  }

  async poll(signal) {
    while (!signal.aborted) {
      if (!this.streaming) await this.look(signal);
      await pause(POLL_MS, signal);
    }
  }

  async follow(signal) {
    for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, SLOWEST_MS)) {
      const began = Date.now();
      try { await this.read(signal); } catch { /* polled meanwhile */ }
      this.streaming = false;
      if (Date.now() - began > SLOWEST_MS) wait = 500;
      await pause(wait, signal);
    }
  }

  /** Read the stream to its end. A stream that says nothing for long, not even that it lives, is dead. */
  async read(signal) {
    const dead = new AbortController();
    signal.addEventListener("abort", () => dead.abort());
    const answer = await ask("/events", { signal: dead.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const silent = setTimeout(() => dead.abort(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silent));
      if (done || signal.aborted) return;
      this.streaming = true;
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
        if (data) { this.fresh(true); this.numbers(JSON.parse(data)); }
      }
    }
  }
}

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
