"""The phone behind a hidden id (LID) is remembered for each account."""

from tests.migrations.conftest import PHONE, Tenant

LID = "160958000000888@lid"


def test_messages_before_and_after_the_phone_have_its_contact(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(1, phone="", lid=LID, wa_message_id="W1"))
    assert tenant.message()["metadata"]["contact"] == "no_phone"
    tenant.apply(tenant.arrived(2, lid=LID, wa_message_id="W2", peer_name="Rita"))
    tenant.apply(tenant.arrived(3, phone="", lid=LID, wa_message_id="W3"))
    (client,) = tenant.clients()
    assert {row["client_id"] for row in tenant.messages()} == {client["id"]}
    assert client["name"] == "Rita"
    assert client["last_message_at"] == max(row["created_at"] for row in tenant.messages())
    assert not any("contact" in row["metadata"] for row in tenant.messages())


def test_one_batch_teaches_and_uses_a_phone(tenant: Tenant) -> None:
    tenant.apply(
        tenant.arrived(1, phone="", lid=LID, wa_message_id="W1"),
        tenant.arrived(2, lid=LID, wa_message_id="W2"),
    )
    assert len({row["client_id"] for row in tenant.messages()} - {None}) == 1


def test_a_reply_that_quotes_our_message_is_in_its_conversation(tenant: Tenant) -> None:
    tenant.apply(tenant.sent(task_id="T1", wa_message_id=f"true_{PHONE}@c.us_3EB01"))
    tenant.apply(
        tenant.arrived(
            2,
            phone="",
            lid=LID,
            wa_message_id=f"false_{LID}_3EB02",
            metadata={"reply_to": f"true_{LID}_3EB01"},
        )
    )
    assert len({row["client_id"] for row in tenant.messages()}) == 1


def test_a_seen_pair_overrides_a_quoted_pair_only(tenant: Tenant) -> None:
    tenant.apply(tenant.sent(task_id="T1", wa_message_id="3EB01", phone="79990003344"))
    tenant.apply(tenant.arrived(2, lid=LID, wa_message_id="3EB02"))
    tenant.apply(
        tenant.arrived(3, phone="", lid=LID, wa_message_id="3EB03", metadata={"reply_to": "3EB01"})
    )
    phones = {row["metadata"]["phone"] for row in tenant.messages() if not row["is_outgoing"]}
    assert phones == {PHONE}


def test_organizations_and_accounts_do_not_share_phones(tenant: Tenant) -> None:
    other = Tenant(tenant.db, "0000000000077").connect()
    tenant.apply(tenant.arrived(1, lid=LID, wa_message_id="W1"))
    other.apply(other.arrived(1, phone="", lid=LID, wa_message_id="W1"))
    assert other.message()["client_id"] is None
