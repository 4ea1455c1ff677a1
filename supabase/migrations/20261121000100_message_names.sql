-- Names of messages: what an outcome says about the message that it means, without regular
-- expressions for the usual spellings.

-- The parts of WhatsApp's id of a message, as before: whether it is our own, its chat, its key.
-- The usual spelling, `true_79990001122@c.us_3EB0…` in ASCII, is taken apart by its separators:
-- a regular expression costs ten times as much.
create or replace function wpp.message_id_parts(id text) returns text[]
language plpgsql immutable strict parallel safe as $$
declare
  pieces text[];
begin
  if strpos(id, '@') = 0 then
    return null;
  end if;
  pieces := string_to_array(id, '_');
  if cardinality(pieces) = 3 and pieces[1] in ('true', 'false') and pieces[3] <> ''
     and split_part(pieces[2], '@', 2) in ('c.us', 's.whatsapp.net', 'lid')
     and strpos(pieces[2], '@') > 1 and strpos(pieces[3], '@') = 0
     and length(pieces[2]) - length(replace(pieces[2], '@', '')) = 1
     and octet_length(id) = length(id) and translate(id, E' \t\n\x0B\f\r', '') = id then
    return pieces;
  end if;
  return regexp_match(id, '^(?:(true|false)_)?([^_@\s]+@[A-Za-z.]+)_([^_@\s]+)'
                          '(?:_[^_@\s]+@[A-Za-z.]+)?(?:_(?:in|out))?$');
end
$$;

do $$
begin
  if to_regtype('wpp.message_name') is null then
    -- What an outcome says about its message, as wpp.message_update describes it.
    create type wpp.message_name as (
      ids text[], key text, target_outgoing boolean, peer_phone text, lid text
    );
  end if;
end
$$;

-- What the fields of an outcome say about its message. WhatsApp's ids name the direction and the
-- chat.
create or replace function wpp.name_message(
  task text, whatsapp text, others text[], target_outgoing boolean, phone text, lid text
) returns wpp.message_name language plpgsql immutable parallel safe as $$
declare
  name wpp.message_name;
  own_parts text[] := wpp.message_id_parts(whatsapp);
  parts text[] := own_parts;
  id text;
  id_parts text[];
  chat text;
begin
  name.ids := array_remove(array[task, whatsapp, own_parts[3]], null);
  if others is not null then
    foreach id in array others loop
      continue when id is null or id = any (name.ids);
      id_parts := wpp.message_id_parts(id);
      parts := coalesce(parts, id_parts);
      name.ids := name.ids || id;
      if id_parts is not null and not id_parts[3] = any (name.ids) then
        name.ids := name.ids || id_parts[3];
      end if;
    end loop;
  end if;
  name.lid := lid;
  if cardinality(name.ids) > 0 then
    name.key := coalesce(own_parts[3], whatsapp);
    name.target_outgoing := target_outgoing;
    name.peer_phone := nullif(phone, '');
    if parts is not null then
      name.target_outgoing := coalesce(parts[1]::boolean, target_outgoing);
      if name.peer_phone is null or lid is null then
        chat := lower(parts[2]);
        if chat like '%@lid' then
          name.lid := coalesce(lid, substring(chat from '^\d+@lid$'));
        elsif name.peer_phone is null then
          name.peer_phone := substring(
            chat from '^(\d{7,15})(?::\d+)?@(?:c\.us|s\.whatsapp\.net)$');
        end if;
      end if;
    end if;
  end if;
  return name;
end
$$;

create or replace function wpp.message_reference(outcome jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  select case when cardinality(n.ids) = 0 then '{"ids": []}' else to_jsonb(n) end
  from wpp.name_message(
    outcome ->> 'task_id', outcome ->> 'wa_message_id',
    (select array_agg(e.id order by e.n)
     from jsonb_array_elements_text(outcome -> 'external_ids') with ordinality as e (id, n)),
    (outcome ->> 'target_outgoing')::boolean, outcome ->> 'phone', outcome ->> 'lid') as n
$$;

-- The numbers of the line that has an international number, which comes first. Nearly all countries
-- have no plan that changed.
create or replace function wpp.phone_twins(digits text) returns text[]
language plpgsql stable parallel safe set search_path = '' as $$
begin
  if not exists (select from wpp.numbering_changes c
                 where c.country_code = any (array[left(digits, 2), left(digits, 3)])) then
    return array[digits];
  end if;
  return digits || array(
    select p.other || substr(digits, length(p.prefix) + 1)
    from wpp.numbering_changes c,
    lateral (values (c.old_prefix, c.new_prefix), (c.new_prefix, c.old_prefix))
      as p (prefix, other)
    where c.country_code = any (array[left(digits, 2), left(digits, 3)])
      and starts_with(digits, p.prefix)
      and substr(digits, length(p.prefix) + 1) ~ ('^' || c.rest || '$')
    order by 1);
end
$$;

do $$
begin
  revoke execute on function
    wpp.name_message(text, text, text[], boolean, text, text) from public, anon, authenticated;
  grant execute on function
    wpp.name_message(text, text, text[], boolean, text, text) to service_role;
end
$$;
