-- Schema `wpp` and phone numbers: how people write them, and which entries of the CRM they mean.
--
-- `wpp` holds the functions, types and tables that are internal to the pipeline. PostgREST does not
-- expose it. What clients of PostgREST call or read stands in `public`, with the prefix wpp_.
create schema if not exists wpp;
grant usage on schema wpp to authenticated, service_role;

-- The digits of a phone as it is stored.
create or replace function wpp.digits(stored text) returns text
language sql immutable parallel safe
return pg_catalog.regexp_replace(stored, '\D', '', 'g');

-- The numbers in a field that people fill, each as the digits that are written, with a plus where
-- the country code is certain: "+7 (999) 000-11-22 ext. 5" is {+79990001122}, "8 999 0001122" is
-- {89990001122}. The number's country is not known here: `wpp.phone_variants` lists what a number
-- may look like. In detail:
--   Full-width, Arabic, Persian and Devanagari digits are digits.
--   Extensions and WhatsApp's servers ("@c.us", ":12" before it) are no part of a number.
--   A field may hold several numbers, separated by letters or signs, by a plus, by a slash between
--   whole numbers, or by nothing but their length. "…45-03/04" is the first of them.
--   "(0)" is the trunk prefix that abroad leaves out; Italy keeps it. Both readings count.
--   00 is a plus. No country code begins with 0 or with 89: such a plus is needless.
create or replace function wpp.stored_numbers(stored text) returns text[]
language plpgsql immutable parallel safe as $$
declare
  written text := stored;
  piece text;
  parts text[];
  numbers text[] := '{}';
begin
  if stored ~ '^\+?[1-9][0-9]{4,14}$' and stored !~ '^\+89' then
    return array[stored]; -- most of them
  end if;
  if stored is null or stored !~ '[[:digit:]]{2}|\d.*\d|[０-９٠-٩۰-۹०-९]' then
    return numbers;
  end if;
  written := translate(written,
    '０１２３４５６７８９٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹०१२३४५६७८९＋（）／－‐‑‒–—―−．　',
    '0123456789012345678901234567890123456789+()/--------. ');
  written := regexp_replace(written,
    '(;?\s*ext(ension)?\.?|[Дд]об(авочный)?\.?|[Вв]н(утр)?\.?|[xX]|#)\s*[:=.]?\s*'
    '[0-9]{1,7}(?![0-9])', '|', 'gi');
  written := regexp_replace(written, '(:[0-9]+)?@[A-Za-z.]*', '|', 'g');
  written := regexp_replace(written, '[^-0-9+ ().\u00a0/]', '|', 'g');
  written := regexp_replace(written, '\+', '|+', 'g');
  if written ~ '\( *0 *\)' then
    written := concat_ws('|', regexp_replace(written, '\( *0 *\)', '', 'g'),
                         translate(written, '()', ''));
  end if;
  foreach piece in array string_to_array(written, '|') loop
    parts := wpp.split_numbers(piece);
    numbers := numbers || array(select wpp.mark_country_code(p) from unnest(parts) as p);
  end loop;
  return numbers;
end
$$;

-- The numbers in a text of digits, spaces, brackets, dots, dashes and slashes. Without five digits
-- there is none.
create or replace function wpp.split_numbers(piece text) returns text[]
language plpgsql immutable parallel safe as $$
declare
  sides text[] := string_to_array(piece, '/');
  digits text;
begin
  if cardinality(sides) > 1 then
    if not exists (select from unnest(sides) as s where length(wpp.digits(s)) < 7) then
      return array(select unnest(wpp.split_numbers(s)) from unnest(sides) as s);
    elsif length(wpp.digits(sides[1])) >= 9 then
      return wpp.split_numbers(sides[1]); -- the last digits of another number follow
    end if;
  end if;
  digits := wpp.digits(piece);
  if length(digits) between 5 and 15 then
    return array[case when piece ~ '^\s*\+' then '+' else '' end || digits];
  elsif length(digits) < 5 then
    return '{}';
  end if;
  return array(
    select d from regexp_split_to_table(piece, '\s+') as word, lateral wpp.digits(word) as d
    where length(d) between 7 and 15
    union all
    select h from (values (left(digits, length(digits) / 2)),
                          (right(digits, length(digits) / 2))) as half (h)
    where length(digits) in (20, 22, 24));
end
$$;

-- A number with its plus, or without a needless one.
create or replace function wpp.mark_country_code(number text) returns text
language sql immutable parallel safe
return case
  when number ~ '^\+?00[1-9]' then '+' || substr(ltrim(number, '+'), 3)
  when number ~ '^\+(0|89)' then substr(number, 2)
  else number end;

drop index if exists public.wpp_clients_by_phone, public.wpp_teachers_by_phone,
  public.wpp_numbers_by_phone;
-- Without `fastupdate`: a look-up would go through all recent entries first.
create index if not exists wpp_clients_by_number on public.clients
  using gin (wpp.stored_numbers(phone)) with (fastupdate = off);
create index if not exists wpp_teachers_by_number on public.teachers
  using gin (wpp.stored_numbers(phone)) with (fastupdate = off);
create index if not exists wpp_further_by_number on public.client_phone_numbers
  using gin (wpp.stored_numbers(phone)) with (fastupdate = off);

-- How the people of a region (ISO 3166) write their numbers: the country code that abroad needs,
-- the trunk prefixes that they dial first at home, the current one and those of the past, and the
-- prefix of calls abroad, which is 00 or nothing better. Source: the metadata of libphonenumber,
-- which shared/phones.py reads as well; a test compares the two.
create table if not exists wpp.dialing_rules (
  region text primary key,
  country_code text not null,
  trunk_prefixes text[] not null,
  international_prefix text not null
);
create index if not exists dialing_rules_by_country_code on wpp.dialing_rules (country_code);
alter table wpp.dialing_rules enable row level security;
grant select on wpp.dialing_rules to service_role;

insert into wpp.dialing_rules (region, country_code, trunk_prefixes, international_prefix)
select substr(rule, 1, 2), substr(rule, 3), string_to_array(g.trunk_prefixes, ' '),
       g.international_prefix
from (values
  ('', '0', 'CV238 WS685'),
  ('', '00',
   'AC247 AD376 AO244 AW297 BF226 BH973 BI257 BJ229 BN673 BQ599 BT975 BW267 BZ501 CF236 CG242
    CI225 CK682 CL56 CM237 CR506 CW599 CY357 CZ420 DJ253 DK45 ES34 FJ679 FK500 FM691 FO298 GA241
    GI350 GL299 GM220 GN224 GQ240 GR30 GT502 GW245 HK852 HN504 HT509 IO246 IS354 IT39 KM269
    KW965 LS266 LU352 ML223 MO853 MR222 MT356 MV960 MZ258 NC687 NE227 NF672 NI505 NO47 NR674
    NU683 OM968 PA507 PF689 PG675 PL48 PT351 PW680 QA974 SB677 SC248 SG65 SH290 SJ47 SM378 SN221
    SR597 ST239 SV503 SZ268 TA290 TD235 TG228 TK690 TL670 TN216 TO676 TV688 VA39 VU678 WF681'),
  ('', '001', 'GY592'),
  ('', '020', 'MU230'),
  ('0', '00',
   'AE971 AF93 AL355 AR54 AT43 AX358 BA387 BD880 BE32 BG359 BL590 CD243 CH41 CN86 DE49 DZ213
    EC593 EG20 EH212 ER291 ET251 FI358 FR33 GB44 GF594 GG44 GH233 GP590 HR385 ID62 IE353 IL972
    IM44 IN91 IQ964 IR98 JE44 JO962 KH855 KI686 KP850 LA856 LB961 LI423 LK94 LR231 LY218 MA212
    MC377 ME382 MF590 MG261 MK389 MM95 MQ596 MW265 MY60 NA264 NL31 NP977 NZ64 PE51 PH63 PK92
    PM508 PS970 PY595 RE262 RO40 RS381 RW250 SA966 SD249 SE46 SI386 SK421 SL232 SO252 SS211
    SY963 TH66 TR90 TW886 TZ255 UG256 UY598 VE58 VN84 XK383 YE967 YT262 ZA27 ZM260 ZW263'),
  ('0', '000', 'KE254'),
  ('0', '001', 'MN976'),
  ('0', '0011', 'AU61 CC61 CX61'),
  ('0', '009', 'NG234'),
  ('0', '010', 'JP81'),
  ('0', '119', 'CU53'),
  ('0 010 011 012 013 014 015 016 017 018 019', '00', 'BO591'),
  ('0 03 05 07 09', '00', 'CO57'),
  ('0 081 082 083 084 086 087 088', '00', 'KR82'),
  ('0 8', '00', 'AM374 AZ994 GE995 KG996 LT370 MD373'),
  ('0 80', '00', 'UA380'),
  ('0 90', '00', 'BR55'),
  ('01 044 045', '00', 'MX52'),
  ('06', '00', 'HU36'),
  ('1', '011',
   'AG1 AI1 AS1 BB1 BM1 BS1 CA1 DM1 DO1 GD1 GU1 JM1 KN1 KY1 LC1 MH692 MP1 MS1 PR1 SX1 TC1 TT1
    US1 VC1 VG1 VI1'),
  ('8', '00', 'EE372 LV371 UZ998'),
  ('8', '810', 'KZ7 RU7 TJ992 TM993'),
  ('8 0 80', '810', 'BY375')
) as g (trunk_prefixes, international_prefix, rules), regexp_split_to_table(g.rules, '\s+') as rule
on conflict (region) do update
set country_code = excluded.country_code, trunk_prefixes = excluded.trunk_prefixes,
    international_prefix = excluded.international_prefix;

-- Numbering plans that changed: numbers `old_prefix` + rest became `new_prefix` + rest; `rest`
-- matches the whole rest. shared/numbering.py has the same table, and names the sources.
create table if not exists wpp.numbering_changes (
  region text not null,
  country_code text not null,
  old_prefix text not null,
  new_prefix text not null,
  rest text not null,
  primary key (old_prefix, new_prefix)
);
create index if not exists numbering_changes_by_country_code
  on wpp.numbering_changes (country_code);
alter table wpp.numbering_changes enable row level security;
grant select on wpp.numbering_changes to service_role;

insert into wpp.numbering_changes (region, country_code, old_prefix, new_prefix, rest)
select g.region, g.country_code, split_part(pair, ':', 1), split_part(pair, ':', 2), g.rest
from (values
  ('AR', '54', '[1-3][0-9]{9}', '54:549'),
  ('BJ', '229', '[0-9]{8}', '229:22901'),
  ('BR', '55', '[6-9][0-9]{7}',
   '5511:55119 5512:55129 5513:55139 5514:55149 5515:55159 5516:55169 5517:55179 5518:55189
    5519:55199 5521:55219 5522:55229 5524:55249 5527:55279 5528:55289 5531:55319 5532:55329
    5533:55339 5534:55349 5535:55359 5537:55379 5538:55389 5541:55419 5542:55429 5543:55439
    5544:55449 5545:55459 5546:55469 5547:55479 5548:55489 5549:55499 5551:55519 5553:55539
    5554:55549 5555:55559 5561:55619 5562:55629 5563:55639 5564:55649 5565:55659 5566:55669
    5567:55679 5568:55689 5569:55699 5571:55719 5573:55739 5574:55749 5575:55759 5577:55779
    5579:55799 5581:55819 5582:55829 5583:55839 5584:55849 5585:55859 5586:55869 5587:55879
    5588:55889 5589:55899 5591:55919 5592:55929 5593:55939 5594:55949 5595:55959 5596:55969
    5597:55979 5598:55989 5599:55999'),
  ('CI', '225', '[04-9][0-3][0-9]{6}', '225:22501'),
  ('CI', '225', '[04-9][4-6][0-9]{6}', '225:22505'),
  ('CI', '225', '[04-9][7-9][0-9]{6}', '225:22507'),
  ('CI', '225', '(2(0[23]|1[2357]|2[245]|3[45]|4[3-5])|3(06|1[69]|[2-6]7))[0-9]{5}', '225:22527'),
  ('CM', '237', '[5-9][0-9]{7}', '237:2376'),
  ('CM', '237', '[23][0-9]{7}', '237:2372'),
  ('CO', '57', '[2-9][0-9]{6}',
   '571:57601 572:57602 574:57604 575:57605 576:57606 577:57607 578:57608'),
  ('MX', '52', '[2-9][0-9]{9}', '521:52'),
  ('VN', '84', '[0-9]{7}',
   '84120:8470 84121:8479 84122:8477 84123:8483 84124:8484 84125:8485 84126:8476 84127:8481
    84128:8478 84129:8482 84162:8432 84163:8433 84164:8434 84165:8435 84166:8436 84167:8437
    84168:8438 84169:8439 84186:8456 84188:8458 84199:8459')
) as g (region, country_code, rest, pairs), regexp_split_to_table(g.pairs, '\s+') as pair
on conflict (old_prefix, new_prefix) do update
set region = excluded.region, country_code = excluded.country_code, rest = excluded.rest;

-- The numbers of the line that has an international number, which comes first.
create or replace function wpp.phone_twins(digits text) returns text[]
language plpgsql stable parallel safe set search_path = '' as $$
begin
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

-- What `wpp.stored_numbers` may hold for a line (`twins`: its international numbers) in an
-- organization of a region: each number
--   as abroad dials it, with a plus or without, also with its country's trunk prefix left in
--   ("+91 098765 43210"), and in Argentina with 15 in place of the 9 ("+54 11 15 2345-6701"),
--   with this region's prefix of calls abroad ("8 10 380 …" in Russia),
--   and, for a number of this region, as people write it at home: "8 999 0001122" and "9990001122"
--   in Russia are 79990001122, "0151 2345678" in Germany is 491512345678.
-- `country_code` and `trunk_prefixes` are those of the line's country, null where it is unknown.
create or replace function wpp.phone_variants(
  twins text[], country_code text, trunk_prefixes text[],
  home_country_code text, international_prefix text
) returns text[] language plpgsql immutable parallel safe as $$
declare
  twin text;
  national text;
  dialed text;
  nationals text[];
  variants text[] := '{}';
begin
  foreach twin in array twins loop
    variants := variants || array[twin, '+' || twin, international_prefix || twin];
    continue when country_code is null;
    national := substr(twin, length(country_code) + 1);
    nationals := '{}';
    foreach dialed in array trunk_prefixes loop
      nationals := nationals || (dialed || national);
    end loop;
    if country_code = '54' and length(national) = 10 then
      for n in 2 .. 4 loop
        dialed := left(national, n) || '15' || substr(national, n + 1);
        nationals := nationals || array[dialed, '0' || dialed];
      end loop;
    end if;
    foreach dialed in array nationals loop
      variants := variants || array[country_code || dialed, '+' || country_code || dialed];
    end loop;
    if country_code = home_country_code then
      variants := variants || national || nationals;
    end if;
  end loop;
  return variants;
end
$$;
