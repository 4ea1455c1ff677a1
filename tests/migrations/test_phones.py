"""Phones in SQL: the spellings of a stored number, the countries' table, the index."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import phonenumbers
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType
from psycopg.rows import dict_row

from sandbox.supabase.project import Supabase
from shared.numbering import CHANGES, FORMER_TRUNK_PREFIXES, find_twins
from tests.migrations.conftest import PHONE, Db, Tenant
from tests.migrations.test_contacts import add_number, add_teacher
from tests.migrations.test_regions import live_in
from tests.shared.test_numbering import changed_numbers

READ = "select wpp.stored_numbers(%s) as numbers"
VARIANTS = """
cross join lateral (
  select wpp.phone_variants(wpp.phone_twins(s.phone), plan.country_code, plan.trunk_prefixes,
                            home.country_code, home.international_prefix) as variants
  from wpp.dialing_rules home
  left join lateral (
    select * from wpp.dialing_rules r
    where r.country_code = any (array[left(s.phone, 1), left(s.phone, 2), left(s.phone, 3)])
    order by r.region <> home.region, r.region limit 1
  ) plan on true
  where home.region = s.region offset 0
) v
"""
"""As `wpp.resolve_contacts` has it."""
FOUND = f"""
select s.n from unnest(%s::text[], %s::text[], %s::text[]) with ordinality
  as s (stored, phone, region, n)
{VARIANTS}
where not coalesce(wpp.stored_numbers(s.stored) && v.variants, false)
"""  # noqa: S608 - a constant

FULL_WIDTH, ARABIC, PERSIAN, DEVANAGARI = 0xFF10, 0x0660, 0x06F0, 0x0966
"""The zeros of further scripts."""


def in_script(text: str, zero: int) -> str:
    """Return `text` with its digits in another script."""
    return "".join(chr(zero + int(char)) if char.isdecimal() else char for char in text)


STORED = [
    ("+7 (999) 000-11-22", ["+79990001122"]),
    ("8 999 000 11 22", ["89990001122"]),
    ("+8 999 000 11 22", ["89990001122"]),
    ("007 999 000 11 22", ["+79990001122"]),
    ("+007 999 000 11 22", ["+79990001122"]),
    ("(+7) 999 000 11 22", ["+79990001122"]),
    ("79990001122@c.us", ["79990001122"]),
    ("79990001122:12@s.whatsapp.net", ["79990001122"]),
    (in_script("+79991234506", FULL_WIDTH), ["+79991234506"]),
    (in_script("+966501234567", ARABIC), ["+966501234567"]),
    (in_script("09123456789", PERSIAN), ["09123456789"]),
    (in_script("8 999 000 11 22", DEVANAGARI), ["89990001122"]),
    ("+7 999 123-45-02 ext. 12", ["+79991234502"]),
    ("+7 999 123-45-02;ext=12", ["+79991234502"]),
    ("8 495 123-45-02 доб. 1234", ["84951234502"]),
    ("8 (495) 123-45-02, доб 7", ["84951234502"]),
    ("+1 202-555-0123 x5", ["+12025550123"]),
    ("89991234503, 89991234504", ["89991234503", "89991234504"]),
    ("89991234503; +7 999 123-45-04", ["89991234503", "+79991234504"]),
    ("89991234503/89991234504", ["89991234503", "89991234504"]),
    ("89991234503 89991234504", ["89991234503", "89991234504"]),
    ("+7 999 123 45 03 +7 999 123 45 04", ["+79991234503", "+79991234504"]),
    ("мама 8 999 123-45-03, папа 8 999 123-45-04", ["89991234503", "89991234504"]),
    ("8 999 123-45-03\n8 999 123-45-04", ["89991234503", "89991234504"]),
    ("8 999 123-45-03/04", ["89991234503"]),
    ("030/123456", ["030123456"]),
    ("+49 (0)151 23456789", ["+4915123456789", "+49015123456789"]),
    ("+39 (0)6 1234567", ["+3961234567", "+39061234567"]),
    ("8\u2013999\u2013000\u201311\u201322", ["89990001122"]),
    ("8\u00a0999\u00a0000\u00a011\u00a022", ["89990001122"]),
    ("8.999.000.11.22", ["89990001122"]),
    ("", []),
    ("-", []),
    ("112", []),
    ("no phone", []),
    (None, []),
]


@pytest.mark.parametrize(("stored", "numbers"), STORED, ids=[str(n) for n in range(len(STORED))])
def test_the_numbers_of_a_field(db: Db, stored: str | None, numbers: list[str]) -> None:
    row = db.execute(READ, (stored,)).fetchone()
    assert row
    assert sorted({*row["numbers"]}) == sorted(numbers)


ARRIVING = [
    ("RU", "+525512345601", "5215512345601"),
    ("RU", "+5215512345602", "525512345602"),
    ("RU", "+541123456701", "5491123456701"),
    ("RU", "+5511987650010", "551187650010"),
    ("RU", "+49 (0)151 23456789", "4915123456789"),
    ("RU", "+44 (0)7911 123456", "447911123456"),
    ("RU", "+91 098765 43210", "919876543210"),
    ("RU", "89991234503, 89991234504", "79991234503"),
    ("RU", "89991234503, 89991234504", "79991234504"),
    ("RU", "+7 999 123-45-02 ext. 12", "79991234502"),
    ("RU", in_script("+79991234506", FULL_WIDTH), "79991234506"),
    ("RU", "+7 8 999 123-45-06", "79991234506"),
    ("RU", "8 10 380 50 123 45 67", "380501234567"),
    ("KZ", "8 (701) 234-56-78", "77012345678"),
    ("MX", "044 55 1234 5601", "5215512345601"),
    ("MX", "01 55 1234 5601", "525512345601"),
    ("AR", "011 15-2345-6701", "5491123456701"),
    ("AR", "15 en 0341 15 234-5678", "5493412345678"),
    ("RU", "+54 341 15 234-5678", "5493412345678"),
    ("BR", "(11) 8765-0010", "5511987650010"),
    ("BR", "(011) 98765-0010", "551187650010"),
    ("BJ", "97 00 00 00", "2290197000000"),
    ("CI", "07 12 34 56", "2250707123456"),
    ("VN", "0120 123 4567", "84701234567"),
    ("BY", "8 029 123-45-67", "375291234567"),
    ("IT", "+39 (0)6 1234567", "39061234567"),
    ("US", "011 44 7911 123456", "447911123456"),
    ("UA", "050 123-45-67 / 067 765-43-21", "380677654321"),
]


@pytest.mark.parametrize(("region", "stored", "arrives"), ARRIVING)
def test_an_existing_client_is_found_by_any_habit_and_either_plan(
    tenant: Tenant, region: str, stored: str, arrives: str
) -> None:
    live_in(tenant, region)
    client = tenant.add_client(stored)
    tenant.apply(tenant.arrived(phone=arrives))
    row = tenant.message()
    assert (row["client_id"], len(tenant.clients())) == (client, 1)
    assert "contact" not in row["metadata"]


def test_teachers_and_further_numbers_are_found_as_well(tenant: Tenant) -> None:
    teacher = add_teacher(tenant, "+52 1 55 1234 5601")
    client = tenant.add_client("79995556677")
    add_number(tenant, client, "+55 11 98765-0010")
    tenant.apply(tenant.arrived(phone="525512345601"), tenant.arrived(1, phone="551187650010"))
    first, second = tenant.messages()
    assert (first["teacher_id"], second["client_id"]) == (teacher, client)


@pytest.mark.parametrize(
    ("stored", "arrives"),
    [
        ("+551133334444", "5511933334444"),  # a landline and a mobile number of São Paulo
        ("+5511933334444", "551133334444"),
        ("+390612345678", "39612345678"),  # Italy's zero belongs to the number
        ("+2252020061234", "22520061234"),
        ("+79990001122", "78990001122"),
        ("+84912345678", "74912345678"),
    ],
)
def test_another_line_is_another_client(tenant: Tenant, stored: str, arrives: str) -> None:
    tenant.add_client(stored)
    tenant.apply(tenant.arrived(phone=arrives))
    assert len(tenant.clients()) == 2


def test_a_client_made_from_one_spelling_is_found_by_the_other(tenant: Tenant) -> None:
    for n, phone in enumerate(("5215512345601", "525512345601", "5215512345601")):
        tenant.apply(tenant.arrived(n, phone=phone, wa_message_id=f"W{n}"))
    assert len(tenant.clients()) == 1
    assert len({row["client_id"] for row in tenant.messages()}) == 1


OWN = "79995550000"


def test_our_own_number_never_becomes_a_client(tenant: Tenant, other: Tenant) -> None:
    """Once an event named it: notes to oneself, and messages between the organization's numbers."""
    tenant.apply(tenant.arrived(own_phone=OWN))
    tenant.apply(
        tenant.arrived(1, phone=OWN, own_phone=OWN, outgoing=True, status="sent"),
        tenant.sent("queued", 2, phone=OWN),
    )
    assert [client["phone"] for client in tenant.clients()] == [PHONE]
    _, note, sent = tenant.messages()
    for row in (note, sent):
        assert (row["client_id"], row["metadata"]["contact"]) == (None, "own_number")
    other.apply(other.arrived(phone=OWN))
    assert len(other.clients()) == 1, "another organization's client may have this number"


def test_a_client_who_has_our_own_number_in_the_crm_stays_it(tenant: Tenant) -> None:
    client = tenant.add_client("8" + OWN[1:])
    tenant.apply(tenant.arrived(own_phone=OWN), tenant.arrived(1, phone=OWN))
    assert tenant.messages()[1]["client_id"] == client


def test_the_table_of_changes_is_python_s(db: Db) -> None:
    rows = db.execute("select region, old_prefix, new_prefix, rest from wpp.numbering_changes")
    assert sorted(tuple(row.values()) for row in rows) == sorted(
        (change.region, change.old, change.new, change.rest) for change in CHANGES
    )


@pytest.fixture(scope="module")
def numbering(supabase_world: Supabase) -> Iterator[Db]:
    """Return a connection that reads the tables of numbers only."""
    with psycopg.connect(
        supabase_world.database_url, autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(phone=changed_numbers() | st.from_regex(r"\A[1-9][0-9]{6,14}\Z"))
def test_python_and_sql_find_the_same_twins(numbering: Db, phone: str) -> None:
    row = numbering.execute("select wpp.phone_twins(%s) as twins", (phone,)).fetchone()
    assert row
    assert sorted(row["twins"]) == sorted(find_twins(phone))


def dialing_rule(region: str) -> tuple[str, str, list[str], str]:
    """Return a region's row of `wpp.dialing_rules`: libphonenumber's facts, and former prefixes."""
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert metadata
    parsing = metadata.national_prefix_for_parsing or ""
    candidates = [metadata.national_prefix or "", *_short_prefixes()]
    trunk = [p for p in candidates if p and (p == candidates[0] or re.fullmatch(parsing, p))]
    trunk += FORMER_TRUNK_PREFIXES.get(region, ())
    preferred = (metadata.preferred_international_prefix or "").replace("~", "")
    dialed = preferred or metadata.international_prefix or "00"
    return (
        region,
        str(metadata.country_code),
        list(dict.fromkeys(trunk)),
        dialed if dialed.isdecimal() else "00",
    )


@cache
def _short_prefixes() -> list[str]:
    return [f"{n:0{width}}" for width in (1, 2, 3) for n in range(10**width)]


def test_the_dialing_rules_are_libphonenumber_s(db: Db) -> None:
    rows = db.execute(
        "select region, country_code, trunk_prefixes, international_prefix from wpp.dialing_rules"
    )
    stored = sorted(tuple(row.values()) for row in rows)
    assert stored == sorted(map(dialing_rule, phonenumbers.SUPPORTED_REGIONS))


def spellings() -> Iterator[tuple[str, str, str]]:
    """Yield stored text, phone and region: libphonenumber's example numbers of every region."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE):
            number = phonenumbers.example_number_for_type(region, kind)
            if number is None:
                continue
            phone = phonenumbers.format_number(number, PhoneNumberFormat.E164).removeprefix("+")
            international = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
            for written in (international, f"00{phone}", phone, f"{international} ext. 4"):
                yield written, phone, "RU"
            yield phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL), phone, region
            yield phonenumbers.format_number(number, PhoneNumberFormat.RFC3966), phone, region


def test_the_usual_spellings_of_every_country_are_found(db: Db) -> None:
    # Niue and Tokelau have numbers of four digits, which are found with their country code only.
    written = [each for each in spellings() if sum(map(str.isdigit, each[0])) > 4]
    assert len(written) > 2000
    missed = db.execute(FOUND, [list(column) for column in zip(*written, strict=True)])
    assert [written[row["n"] - 1] for row in missed] == []


PLAN = f"""
explain (format json, costs off)
select c.*
from (select w.*, 'RU' as region from unnest(%s::uuid[], %s::text[]) as w (organization_id, phone)
) s
{VARIANTS}
cross join lateral wpp.contact_candidates(s.organization_id, s.phone, v.variants) c
"""  # noqa: S608 - a constant


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield node type and index or table of every scan in a plan."""
    if "Scan" in plan["Node Type"]:
        yield plan["Node Type"], plan.get("Index Name", plan.get("Relation Name"))
    for inner in plan.get("Plans", ()):
        yield from scans(inner)


@pytest.mark.parametrize("analyzed", [False, True], ids=["fresh", "analyzed"])
def test_an_index_serves_the_look_up_among_100_000_clients(
    tenant: Tenant, *, analyzed: bool
) -> None:
    """All candidates of a batch come from a single statement, and no table is read as a whole."""
    tenant.db.execute(
        "insert into clients (organization_id, name, phone) "
        "select %s, 'Other', '+7888' || lpad(n::text, 7, '0') from generate_series(1, 100000) n",
        (tenant.id,),
    )
    tenant.db.execute("analyze clients" if analyzed else "select 1")
    with tenant.db.transaction():
        for setting in ("seqscan", "hashjoin", "mergejoin"):  # as wpp_apply has it
            tenant.db.execute(f"set local enable_{setting} = off".encode())
        row = tenant.db.execute(PLAN, ([tenant.id] * 2, [PHONE, "5215512345601"])).fetchone()
    assert row
    found = set(scans(row["QUERY PLAN"][0]["Plan"]))
    assert ("Bitmap Index Scan", "wpp_clients_by_number") in found
    assert ("Bitmap Index Scan", "wpp_teachers_by_number") in found
    assert ("Bitmap Index Scan", "wpp_further_by_number") in found
    assert not {name for name in found if name[0] == "Seq Scan"}
