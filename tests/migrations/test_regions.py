"""Phones of all countries: found in local spelling, never matched to another country."""

import psycopg
import pytest

from shared.phones import normalize
from tests.migrations.conftest import PHONE, Tenant
from tests.migrations.test_contacts import add_number

VIETNAM, RYAZAN = "84912345678", "74912345678"
"""The same number, where people write 8 for 7."""


def live_in(tenant: Tenant, region: str) -> None:
    tenant.db.execute(
        "insert into wpp_policies (organization_id, region) values (%s, %s)", (tenant.id, region)
    )


SPELLINGS = [
    ("RU", "8 (999) 000-11-22", PHONE),
    ("RU", "9990001122", PHONE),
    ("RU", "+8 999 000-11-22", PHONE),
    ("RU", "007 999 000 11 22", PHONE),
    ("RU", "79990001122@c.us", PHONE),
    ("RU", "+380 50 123-45-67", "380501234567"),
    ("KZ", "8 701 234 56 78", "77012345678"),
    ("DE", "0151 23456789", "4915123456789"),
    ("DE", "030/123456", "4930123456"),
    ("VN", "0912 345 678", VIETNAM),
    ("VN", "912345678", VIETNAM),
    ("BR", "(11) 98765-4321", "5511987654321"),
    ("BR", "011 98765-4321", "5511987654321"),
    ("US", "(202) 555-0123", "12025550123"),
    ("US", "1-202-555-0123", "12025550123"),
    ("HU", "06 30 123 4567", "36301234567"),
]


@pytest.mark.parametrize(("region", "stored", "phone"), SPELLINGS)
def test_a_client_is_found_as_people_write_at_home(
    tenant: Tenant, region: str, stored: str, phone: str
) -> None:
    live_in(tenant, region)
    client = tenant.add_client(stored)
    tenant.apply(tenant.arrived(phone=phone))
    assert (tenant.message()["client_id"], len(tenant.clients())) == (client, 1)
    if "@" not in stored and "+8" not in stored:
        assert normalize(stored, region) == phone, "the pipeline sends where the CRM's entry leads"


@pytest.mark.parametrize("stored", ["+84 912 345 678", "+84912345678", "0084912345678"])
def test_a_number_abroad_is_not_read_as_one_at_home(tenant: Tenant, stored: str) -> None:
    abroad = tenant.add_client(stored)
    tenant.apply(tenant.arrived(phone=VIETNAM), tenant.arrived(1, phone=RYAZAN))
    first, second = tenant.messages()
    assert first["client_id"] == abroad
    assert second["client_id"] not in {None, abroad}


@pytest.mark.parametrize(
    "sender",
    [
        VIETNAM,
        "85212345678",
        "85366123456",
        "85512345678",
        "95912345678",
        "9607712345",
        "12025550123",
    ],
)
def test_a_sender_from_abroad_is_one_client_however_often_they_write(
    tenant: Tenant, sender: str
) -> None:
    """Numbers of Hong Kong, Macau, Cambodia or Myanmar look like local Russian ones."""
    home = {10: f"7{sender}", 11: f"7{sender[1:]}"}[len(sender)]
    for second in range(3):
        tenant.apply(tenant.arrived(second, phone=sender, wa_message_id=f"W{second}"))
    tenant.apply(tenant.arrived(9, phone=home, wa_message_id="home"))
    *abroad, at_home = tenant.messages()
    assert len({row["client_id"] for row in abroad}) == 1
    assert at_home["client_id"] not in {None, abroad[0]["client_id"]}
    assert {client["phone"] for client in tenant.clients()} == {f"+{sender}", home}
    assert not [row for row in tenant.messages() if "contact" in row["metadata"]]


def test_a_sender_from_abroad_stored_without_a_plus_is_found(
    tenant: Tenant,
) -> None:
    abroad = tenant.add_client(VIETNAM)
    tenant.apply(tenant.arrived(phone=VIETNAM))
    assert tenant.message()["client_id"] == abroad


def test_russian_spellings_do_not_count_in_other_regions(tenant: Tenant) -> None:
    """8 in place of 7 is a Russian habit, unknown in Germany."""
    live_in(tenant, "DE")
    tenant.add_client("8 999 000 11 22")
    tenant.apply(tenant.arrived())
    assert len(tenant.clients()) == 2


def test_the_same_last_digits_in_another_country_are_another_person(tenant: Tenant) -> None:
    """The CRM's trigger compares the last ten digits; its refusal does not merge two people."""
    russian = tenant.add_client(PHONE)
    rule = """
        create function one_phone() returns trigger language plpgsql as $$
        begin
          if exists (select from clients c
                     where c.id <> new.id and right(c.phone, 10) = right(new.phone, 10)) then
            raise exception 'a client with this phone exists' using errcode = 'unique_violation';
          end if;
          return new;
        end $$;
        create trigger one_phone before insert or update on clients
          for each row execute function one_phone()
    """
    tenant.db.execute(rule.encode())
    try:
        for second in range(2):
            tenant.apply(tenant.arrived(second, phone="19990001122"))
    finally:
        tenant.db.execute("drop trigger one_phone on clients; drop function one_phone")
    (american,) = {row["client_id"] for row in tenant.messages()}
    assert american not in {None, russian}


def test_two_spellings_of_one_further_number_are_one_client(tenant: Tenant) -> None:
    client = tenant.add_client("79995556677")
    for spelling in (PHONE, "8 999 000-11-22", "+7 999 000 11 22"):
        add_number(tenant, client, spelling)
    tenant.apply(tenant.arrived())
    row = tenant.message()
    assert (row["client_id"], row["metadata"].get("contact")) == (client, None)


def test_a_region_that_does_not_exist_is_refused(tenant: Tenant) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="wpp_policies_region"):
        live_in(tenant, "XX")
