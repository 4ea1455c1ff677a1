-- Who a phone belongs to: teacher, then client, then a client's further number; made or revived where nobody is found.
--
-- Functions that write to the CRM's tables have the search path `pg_catalog, public, pg_temp` and not the empty one:
-- the CRM's own triggers on these tables name tables and functions without a schema and would fail. Everything of
-- ours is qualified all the same.

-- How numbers are written in a region (ISO 3166): {its country's code, the digits that callers at home put first}, or
-- null where there is no such region. Source: the metadata of libphonenumber, which shared/phones.py reads as well.
create or replace function public.wpp_home(region text) returns text[]
language sql immutable parallel safe set search_path = '' as $$
  select array[(regexp_match(g.regions, '\m' || region || '(\d+)'))[1], g.trunk]
  from (values
    ('', 'AC247 AD376 AO244 AW297 BF226 BH973 BI257 BJ229 BN673 BQ599 BT975 BW267 BZ501 CF236 CG242 CI225 CK682 CL56
      CM237 CR506 CV238 CW599 CY357 CZ420 DJ253 DK45 EE372 ES34 FJ679 FK500 FM691 FO298 GA241 GI350 GL299 GM220
      GN224 GQ240 GR30 GT502 GW245 GY592 HK852 HN504 HT509 IO246 IS354 IT39 KM269 KW965 LS266 LU352 LV371 ML223
      MO853 MR222 MT356 MU230 MV960 MX52 MZ258 NC687 NE227 NF672 NI505 NO47 NR674 NU683 OM968 PA507 PF689 PG675 PL48
      PT351 PW680 QA974 SB677 SC248 SG65 SH290 SJ47 SM378 SN221 SR597 ST239 SV503 SZ268 TA290 TD235 TG228 TJ992
      TK690 TL670 TN216 TO676 TV688 UZ998 VA39 VU678 WF681 WS685'),
    ('0', 'AE971 AF93 AL355 AM374 AR54 AT43 AU61 AX358 AZ994 BA387 BD880 BE32 BG359 BL590 BO591 BR55 CC61 CD243 CH41 CN86
      CO57 CU53 CX61 DE49 DZ213 EC593 EG20 EH212 ER291 ET251 FI358 FR33 GB44 GE995 GF594 GG44 GH233 GP590 HR385 ID62
      IE353 IL972 IM44 IN91 IQ964 IR98 JE44 JO962 JP81 KE254 KG996 KH855 KI686 KP850 KR82 LA856 LB961 LI423 LK94
      LR231 LT370 LY218 MA212 MC377 MD373 ME382 MF590 MG261 MK389 MM95 MN976 MQ596 MW265 MY60 NA264 NG234 NL31 NP977
      NZ64 PE51 PH63 PK92 PM508 PS970 PY595 RE262 RO40 RS381 RW250 SA966 SD249 SE46 SI386 SK421 SL232 SO252 SS211
      SY963 TH66 TR90 TW886 TZ255 UA380 UG256 UY598 VE58 VN84 XK383 YE967 YT262 ZA27 ZM260 ZW263'),
    ('06', 'HU36'),
    ('1', 'AG1 AI1 AS1 BB1 BM1 BS1 CA1 DM1 DO1 GD1 GU1 JM1 KN1 KY1 LC1 MH692 MP1 MS1 PR1 SX1 TC1 TT1 US1 VC1 VG1 VI1'),
    ('8', 'BY375 KZ7 RU7 TM993')
  ) as g (trunk, regions)
  where region ~ '^[A-Z]{2}$' and g.regions ~ ('\m' || region || '\d')
$$;

create or replace function public.wpp_digits(stored text) returns text
language sql immutable parallel safe set search_path = '' as $$
  select regexp_replace(stored, '\D', '', 'g')
$$;

create index if not exists wpp_clients_by_phone on public.clients (public.wpp_digits(phone));
create index if not exists wpp_teachers_by_phone on public.teachers (public.wpp_digits(phone));
create index if not exists wpp_numbers_by_phone on public.client_phone_numbers (public.wpp_digits(phone));

-- What may be stored for an international number (`digits`, as shared/phones.py writes it): itself, with the 00 of
-- calls abroad, and if it is one of this region, as people write it at home: "8 999 0001122" and "9990001122" in Russia
-- are "79990001122", "0151 2345678" in Germany is "491512345678".
create or replace function public.wpp_spellings(digits text, region text) returns text[]
language sql immutable parallel safe set search_path = '' as $$
  select array[digits, '00' || digits] || case when starts_with(digits, home[1]) then
    array[home[2] || substr(digits, length(home[1]) + 1), substr(digits, length(home[1]) + 1)] else '{}' end
  from (select public.wpp_home(region) as home) h
$$;

-- Whether a stored phone that has one of these spellings is this number: with a plus it is an international one, so that
-- "+84 912 345 678" in a Russian school stays Vietnam. No country's code begins with 89: "+8 999 …" is a habit, too.
create or replace function public.wpp_means(stored text, digits text) returns boolean
language sql immutable parallel safe as $$
  select public.wpp_digits(stored) = digits or stored !~ '^\s*\+(?!\D*8\D*9)'
$$;

-- Everybody whom a phone could mean. Deleted teachers are left out: who left doesn't come back by writing.
-- `kind` is 1 for a teacher, 2 for a client, 3 for a client by a further number; `unnamed` says that a client has its
-- phone for a name. Without a search path of its own, so that Postgres can inline it; organisations are compared as
-- text, so that it looks phones up and doesn't walk an organisation.
create or replace function public.wpp_candidates(organization uuid, digits text, spellings text[])
returns table (client_id uuid, teacher_id uuid, active boolean, kind integer, unnamed boolean, since timestamptz)
language sql stable as $$
  select null::uuid, t.id, true, 1, false, t.created_at
  from public.teachers t
  where public.wpp_digits(t.phone) = any (spellings) and public.wpp_means(t.phone, digits)
    and t.organization_id::text = organization::text and coalesce(t.is_active, true)
  union all
  select c.id, null, coalesce(c.is_active, true), 2, c.name = digits, c.created_at
  from public.clients c
  where public.wpp_digits(c.phone) = any (spellings) and public.wpp_means(c.phone, digits)
    and c.organization_id::text = organization::text
  union all
  select distinct c.id, null::uuid, coalesce(c.is_active, true), 3, c.name = digits, c.created_at
  from public.client_phone_numbers n join public.clients c on c.id = n.client_id
  where public.wpp_digits(n.phone) = any (spellings) and public.wpp_means(n.phone, digits)
    and c.organization_id::text = organization::text
$$;

-- Make a client. The CRM allows a phone once among all organisations: where it is taken by another organisation, the
-- client carries it as a further number instead. Null when the CRM's rules forbid even that. Another country's number is
-- stored with its plus: nobody shall read it as one of this country.
create or replace function public.wpp_make_client(organization uuid, digits text, named text) returns uuid
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  made uuid;
  home text[] := public.wpp_home(public.wpp_region(organization));
  stored text := case when starts_with(digits, home[1]) then digits else '+' || digits end;
begin
  begin
    insert into public.clients (organization_id, name, phone, is_active)
    values (organization, named, stored, true) returning id into made;
    return made;
  exception when unique_violation then
    null;
  end;
  -- The CRM compares the last ten digits only: perhaps it means somebody of this very organisation, whose phone nobody
  -- can read. A whole number of another country with these digits is somebody else.
  select c.id into made from public.clients c
  where c.organization_id = organization and right(public.wpp_digits(c.phone), 10) = right(digits, 10)
    and public.wpp_digits(c.phone) !~ '^[1-9]\d{10,14}$'
  order by coalesce(c.is_active, true) desc, c.created_at desc nulls last limit 1;
  if made is not null then
    return made;
  end if;
  insert into public.clients (organization_id, name, is_active) values (organization, named, true)
  returning id into made;
  insert into public.client_phone_numbers (client_id, phone, is_primary, is_whatsapp_enabled)
  values (made, stored, true, true);
  return made;
exception when unique_violation or check_violation or foreign_key_violation or exclusion_violation then
  return null; -- a NOT NULL is no rule for one client: it is a column that we don't know of, and an operator's to mend
end
$$;

-- Bring one contact into being, back, or to its name. `entry` is its entry in wpp_contacts; so is the answer.
create or replace function public.wpp_settle_contact(entry jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  digits text := entry ->> 'phone';
  named text := nullif(trim(entry ->> 'name'), '');
  made uuid;
begin
  if entry ->> 'client_id' is null then
    made := public.wpp_make_client((entry ->> 'organization_id')::uuid, digits, coalesce(named, digits));
    return entry || jsonb_build_object('client_id', made, 'flag', case
      when made is null then 'conflict'
      when exists (select from public.clients c where c.id = made and public.wpp_digits(c.phone) <> digits)
        then 'ambiguous' end);
  end if;
  update public.clients c
  set is_active = true, name = case when c.name = digits then coalesce(named, c.name) else c.name end
  where c.id = (entry ->> 'client_id')::uuid;
  return entry;
exception when unique_violation then
  return entry || '{"flag": "conflict"}'; -- the CRM minds another organisation's client: filed all the same
end
$$;

-- The contacts of many phones, made or revived where needed: {"<organization>:<phone>": {"client_id", "teacher_id",
-- "flag"}}. Best first: active before deleted, teacher before client before further number, newest first. `flag` says
-- what an operator should look at: `ambiguous` (several active ones of one kind, or one whose phone can't be read) or
-- `conflict` (none could be made).
-- `wanted` is an array of {"organization_id", "phone", "name"}, each phone once.
create or replace function public.wpp_contacts(wanted jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  contacts jsonb;
begin
  select coalesce(jsonb_object_agg((w ->> 'organization_id') || ':' || (w ->> 'phone'), w || jsonb_build_object(
    'client_id', best.client_id, 'teacher_id', best.teacher_id,
    'flag', case when best.rivals > 1 then 'ambiguous' end,
    'unsettled', best.active is not true or (best.unnamed and nullif(trim(w ->> 'name'), '') is not null)
  )), '{}') into contacts
  from jsonb_array_elements(wanted) as w
  cross join lateral (
    select public.wpp_spellings(w ->> 'phone', public.wpp_region((w ->> 'organization_id')::uuid)) as spellings
    offset 0) s
  left join lateral (
    select c.*, count(*) filter (where c.active) over (partition by c.kind) as rivals
    from public.wpp_candidates((w ->> 'organization_id')::uuid, w ->> 'phone', s.spellings) c
    order by c.active desc, c.kind, c.since desc nulls last, c.client_id, c.teacher_id limit 1
  ) best on true;
  return contacts || (
    select coalesce(jsonb_object_agg(e.key, public.wpp_settle_contact(e.value)), '{}')
    from (select * from jsonb_each(contacts) as c where (c.value ->> 'unsettled')::bool order by c.key) e
  );
end
$$;
