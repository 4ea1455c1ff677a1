// What a service does with the TypeScript client: send, follow, read, list; then a mistake.

import { createClient, streamEvents } from "wpp-pipeline-client";

const options = { baseUrl: process.env["BASE_URL"]!, key: process.env["KEY"]! };
const client = createClient(options);
const ended = new AbortController();
const events = streamEvents(options, { types: ["message.*"], after: "evt_0", signal: ended.signal });

const { data: accepted, error } = await client.POST("/v1/messages", {
  params: { header: { "Idempotency-Key": "typescript" } },
  body: { to: "+79990006600", text: "From TypeScript" },
});
if (error) throw new Error(error.detail);
if (!("id" in accepted)) throw new Error("a plan is the answer to a dry run only");

const seen: string[] = [];
for await (const event of events) {
  if (!JSON.stringify(event.data).includes(accepted.id)) continue;
  seen.push(event.event);
  if (event.event === "message.read") break;
}
ended.abort();

const found = await client.GET("/v1/messages/{message_id}", {
  params: { path: { message_id: accepted.id } },
});
const numbers = await client.GET("/v1/integrations");
const missing = await client.GET("/v1/messages/{message_id}", {
  params: { path: { message_id: "00000000-0000-4000-8000-000000000009" } },
});
console.log(
  JSON.stringify({
    status: found.data?.status,
    numbers: numbers.data?.map((each) => each.status),
    missing: [missing.response.status, missing.error?.code],
    seen,
  }),
);
