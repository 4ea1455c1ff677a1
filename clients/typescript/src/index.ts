/** A client of the WPP pipeline's API, typed by its OpenAPI document (`schema.ts`). */

import createFetchClient, { type Client } from "openapi-fetch";

import { makeHeaders, type ClientOptions } from "./options.js";
import type { components, paths } from "./schema.js";

export type { ClientOptions } from "./options.js";
export type { components, operations, paths } from "./schema.js";
export {
  streamEvents,
  StreamRefusedError,
  type StreamedEvent,
  type StreamOptions,
} from "./stream.js";

export type Message = components["schemas"]["Message"];
export type MessageState = components["schemas"]["MessageState"];
export type IntegrationState = components["schemas"]["IntegrationState"];
/** An error of the API (RFC 9457). */
export type Problem = components["schemas"]["Problem"];
export type WppClient = Client<paths>;

/**
 * Return a client with a method for each HTTP method: `client.POST("/v1/messages", {body})`.
 *
 * It throws when the ingress does not answer. An answer with an error is returned as `error`.
 */
export function createClient(options: ClientOptions): WppClient {
  return createFetchClient<paths>({
    baseUrl: options.baseUrl,
    fetch: options.fetch,
    headers: makeHeaders(options),
  });
}
