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

create index if not exists wpp_clients_by_phone on public.clients (wpp.digits(phone));
create index if not exists wpp_teachers_by_phone on public.teachers (wpp.digits(phone));
create index if not exists wpp_numbers_by_phone on public.client_phone_numbers (wpp.digits(phone));

-- How the people of a region (ISO 3166) write their numbers: the country code that abroad needs,
-- and the trunk prefix that they dial first at home. Source: the metadata of libphonenumber, which
-- shared/phones.py reads as well.
create table if not exists wpp.dialing_rules (
  region text primary key,
  country_code text not null,
  trunk_prefix text not null
);
alter table wpp.dialing_rules enable row level security;
grant select on wpp.dialing_rules to service_role;

insert into wpp.dialing_rules (region, country_code, trunk_prefix)
select substr(rule, 1, 2), substr(rule, 3), g.trunk_prefix
from (values
  ('',
   'AC247 AD376 AO244 AW297 BF226 BH973 BI257 BJ229 BN673 BQ599 BT975 BW267 BZ501 CF236 CG242
    CI225 CK682 CL56 CM237 CR506 CV238 CW599 CY357 CZ420 DJ253 DK45 EE372 ES34 FJ679 FK500
    FM691 FO298 GA241 GI350 GL299 GM220 GN224 GQ240 GR30 GT502 GW245 GY592 HK852 HN504 HT509
    IO246 IS354 IT39 KM269 KW965 LS266 LU352 LV371 ML223 MO853 MR222 MT356 MU230 MV960 MX52
    MZ258 NC687 NE227 NF672 NI505 NO47 NR674 NU683 OM968 PA507 PF689 PG675 PL48 PT351 PW680
    QA974 SB677 SC248 SG65 SH290 SJ47 SM378 SN221 SR597 ST239 SV503 SZ268 TA290 TD235 TG228
    TJ992 TK690 TL670 TN216 TO676 TV688 UZ998 VA39 VU678 WF681 WS685'),
  ('0',
   'AE971 AF93 AL355 AM374 AR54 AT43 AU61 AX358 AZ994 BA387 BD880 BE32 BG359 BL590 BO591 BR55
    CC61 CD243 CH41 CN86 CO57 CU53 CX61 DE49 DZ213 EC593 EG20 EH212 ER291 ET251 FI358 FR33
    GB44 GE995 GF594 GG44 GH233 GP590 HR385 ID62 IE353 IL972 IM44 IN91 IQ964 IR98 JE44 JO962
    JP81 KE254 KG996 KH855 KI686 KP850 KR82 LA856 LB961 LI423 LK94 LR231 LT370 LY218 MA212
    MC377 MD373 ME382 MF590 MG261 MK389 MM95 MN976 MQ596 MW265 MY60 NA264 NG234 NL31 NP977
    NZ64 PE51 PH63 PK92 PM508 PS970 PY595 RE262 RO40 RS381 RW250 SA966 SD249 SE46 SI386 SK421
    SL232 SO252 SS211 SY963 TH66 TR90 TW886 TZ255 UA380 UG256 UY598 VE58 VN84 XK383 YE967
    YT262 ZA27 ZM260 ZW263'),
  ('06',
   'HU36'),
  ('1',
   'AG1 AI1 AS1 BB1 BM1 BS1 CA1 DM1 DO1 GD1 GU1 JM1 KN1 KY1 LC1 MH692 MP1 MS1 PR1 SX1 TC1 TT1
    US1 VC1 VG1 VI1'),
  ('8',
   'BY375 KZ7 RU7 TM993')
) as g (trunk_prefix, rules), regexp_split_to_table(g.rules, '\s+') as rule
on conflict (region) do update
set country_code = excluded.country_code, trunk_prefix = excluded.trunk_prefix;

-- The digits that the CRM may hold for an international number (`digits`, as shared/phones.py
-- writes it): the number itself, with the 00 of calls abroad, and as people of this region write it
-- at home. "8 999 0001122" and "9990001122" in Russia are 79990001122, "0151 2345678" in Germany is
-- 491512345678.
create or replace function wpp.phone_variants(digits text, country_code text, trunk_prefix text)
returns text[] language sql immutable parallel safe
return array[digits, '00' || digits] || case when starts_with(digits, country_code) then array[
  trunk_prefix || substr(digits, length(country_code) + 1),
  substr(digits, length(country_code) + 1)] else '{}' end;

-- Whether a stored phone that has any of these variants is this number. A plus makes it
-- international: "+84 912 345 678" in a Russian school stays Vietnam. No country code begins with
-- 89, so "+8 999 …" is a Russian number with a needless plus.
create or replace function wpp.phone_matches(stored text, digits text) returns boolean
language sql immutable parallel safe
return wpp.digits(stored) = digits or stored !~ '^\s*\+(?!\D*8\D*9)';
