/** The server-sent events of `/v1/events`, over restarts of the server. */

import { makeHeaders, type ClientOptions } from "./options.js";
import type { components } from "./schema.js";

type Problem = components["schemas"]["Problem"];

/** An event: `id` is where to resume, `data` what happened. */
export interface StreamedEvent {
  id: string;
  event: string;
  data: unknown;
}

export interface StreamOptions {
  /** Only events of these types, such as `message.received` or `number.*`. */
  types?: string[];
  /** Begin after this event. Without it the stream begins with the next event. */
  after?: string;
  /** Ends the stream. */
  signal?: AbortSignal;
}

/** The stream was refused; `problem` tells why. */
export class StreamRefusedError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

const RETRY_MS = 1000;

/**
 * Yield events until `signal` is aborted; a stream that ended is opened again after its last event.
 *
 * It throws StreamRefusedError when the server refuses the stream for good (status 4xx but 429).
 */
export async function* streamEvents(
  client: ClientOptions,
  options: StreamOptions = {},
): AsyncGenerator<StreamedEvent, void> {
  let last = options.after;
  while (!options.signal?.aborted) {
    try {
      for await (const event of readOnce(client, options, last)) {
        last = event.id || last;
        if (event.event) yield event;
      }
    } catch (error) {
      if (options.signal?.aborted) return;
      if (error instanceof StreamRefusedError) throw error;
    }
    await pause(RETRY_MS, options.signal);
  }
}

async function* readOnce(
  client: ClientOptions,
  options: StreamOptions,
  last: string | undefined,
): AsyncGenerator<StreamedEvent, void> {
  const url = new URL("/v1/events", client.baseUrl);
  for (const type of options.types ?? []) url.searchParams.append("type", type);
  const headers = makeHeaders(client);
  headers["Accept"] = "text/event-stream";
  if (last) headers["Last-Event-ID"] = last;
  const answer = await (client.fetch ?? fetch)(url, { headers, signal: options.signal ?? null });
  if (!answer.ok) {
    const refused = answer.status < 500 && answer.status !== 429;
    const problem = (await answer.json()) as Problem;
    throw refused ? new StreamRefusedError(problem) : new Error(problem.detail);
  }
  if (answer.body) yield* parse(answer.body);
}

/** Parse the blocks of a stream; a block without data has an id at most. */
async function* parse(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamedEvent, void> {
  const decoder = new TextDecoder();
  let received = "";
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    received += decoder.decode(chunk, { stream: true });
    const blocks = received.split(/\r?\n\r?\n/);
    received = blocks.pop() ?? "";
    for (const block of blocks) yield parseBlock(block);
  }
}

function parseBlock(block: string): StreamedEvent {
  const fields: Record<string, string[]> = {};
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    (fields[line.slice(0, colon)] ??= []).push(line.slice(colon + 1).replace(/^ /, ""));
  }
  const data = fields["data"]?.join("\n");
  return {
    id: fields["id"]?.at(-1) ?? "",
    event: data === undefined ? "" : (fields["event"]?.at(-1) ?? "message"),
    data: data === undefined ? undefined : JSON.parse(data),
  };
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
