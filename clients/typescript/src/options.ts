/** Where the ingress is, and who calls it. */

export interface ClientOptions {
  /** Address of the ingress, such as `https://whatsapp.your-crm.example`. */
  baseUrl: string;
  /** A service key, or the Supabase access token of a member. */
  key: string;
  /** Id of the organization, for a key of several. */
  organization?: string;
  /** Replaces `fetch`. */
  fetch?: typeof globalThis.fetch;
}

/** Return the headers of each request. */
export function makeHeaders(options: ClientOptions): Record<string, string> {
  const headers: Record<string, string> = { Authorization: `Bearer ${options.key}` };
  if (options.organization) headers["Wpp-Organization"] = options.organization;
  return headers;
}
