-- The records that the batch function works on: a type for each kind of outcome, with the fields
-- of shared/outcomes.py and what `wpp.resolve_owners` adds to each outcome:
--   n                its number in the batch, from 1
--   organization_id  its organization: its own, or its account's
--   integration_id   its integration: its own, or its account's
--   arrived          whether it named an account: the platform reported it, it is not our own
--   ids              all ids that it has of its message, as they came and as keys, sorted
--   peer_phone, lid  the chat of its message, as far as it is known: the phone, and `<digits>@lid`
--   target_outgoing  the direction of its message, where it is known

do $$
begin
  if to_regtype('wpp.message_outcome') is not null then
    return; -- this file has been run before
  end if;

  create type wpp.message_outcome as (
    n integer, at timestamptz, id uuid, organization_id uuid, integration_id uuid, account text,
    arrived boolean, ids text[], task_id text, wa_message_id text,
    outgoing boolean, status public.message_status, error text,
    phone text, own_phone text, peer_name text, client_id uuid, teacher_id uuid, sender_name text,
    content text, text text, file_url text, file_name text, file_type text, media_state text,
    metadata jsonb, lid text,
    event text, attempt integer, started_at timestamptz, arrived_at timestamptz, code text,
    key text, -- of its WhatsApp id
    message_id uuid, -- the row of chat_messages
    contact integer -- the number of its contact in the list of contacts, where it has to be found
  );

  -- A status, a reaction or an edit: what refers to a message by the message's ids.
  create type wpp.message_update as (
    n integer, type text, at timestamptz, organization_id uuid, account text, ids text[],
    task_id text, wa_message_id text,
    status public.message_status, error text, -- of a status
    own boolean, arrived_at timestamptz, code text,
    outgoing boolean, phone text, emoji text, -- of a reaction
    text text, -- of an edit
    target_outgoing boolean, peer_phone text, lid text,
    message_id uuid, -- the row of chat_messages; null: it has not come yet
    parked_id uuid -- the row of wpp.parked_outcomes that it was parked in
  );

  create type wpp.session_outcome as (
    n integer, at timestamptz, organization_id uuid, integration_id uuid, account text,
    status text, qr text, reason text, error text
  );

  create type wpp.log_outcome as (
    n integer, at timestamptz, id uuid, organization_id uuid, account text, event_type text,
    payload jsonb, became text, error text
  );

  create type wpp.dead_letter_outcome as (
    n integer, at timestamptz, id uuid, organization_id uuid, account text, kind text, lane text,
    reason text, detail text, attempts integer, accepted_at timestamptz, event jsonb
  );

  -- An outcome as it came, its index in the batch, and who takes the blame for its errors.
  create type wpp.owned_outcome as (n integer, owner text, outcome jsonb);

  -- An id of a message.
  create type wpp.message_link as (
    organization_id uuid, account text, external_id text, message_id uuid
  );

  -- A hidden id and the phone behind it, as an event shows them.
  create type wpp.hidden_id as (
    organization_id uuid, account text, lid text, phone text, is_quoted boolean, seen_at timestamptz
  );

  -- A phone and the person that it belongs to.
  create type wpp.contact as (
    organization_id uuid, phone text, name text,
    stored_phone text, -- the phone as a new client carries it
    client_id uuid, teacher_id uuid,
    flag text, -- what an operator should look at: `ambiguous`, `conflict` or `own_number`
    is_new boolean, -- `client_id` is a new id: its client has to be created
    needs_change boolean -- its client has to be revived or named
  );

  -- What a batch means for a client.
  create type wpp.client_activity as (
    organization_id uuid, client_id uuid, last_message_at timestamptz, answered_at timestamptz,
    unread_from timestamptz
  );
end
$$;
