"""A validation error of an event, an outcome or a row quotes none of its content."""

from uuid import uuid4

import pytest
from pydantic import BaseModel, ValidationError

from shared import events, outcomes
from shared.database import models as rows

PRIVATE = "Your code is 4711"
MODELS = [
    model
    for module in (events, outcomes, rows)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_validation_error_quotes_no_content(model: type[BaseModel]) -> None:
    """The error may be logged or stored: truncated JSON and wrong values are left out of it."""
    with pytest.raises(ValidationError) as cut:
        model.model_validate_json(f'{{"text": "{PRIVATE}')
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(PRIVATE)
    assert PRIVATE not in str(cut.value) + repr(wrong.value)


def test_a_wrong_field_is_named_without_its_value() -> None:
    """The name of the field is enough to find the fault."""
    given = {"id": str(uuid4()), "organization_id": str(uuid4()), "integration_id": str(uuid4())}
    with pytest.raises(ValidationError, match="to") as caught:
        events.SendEvent.model_validate(given | {"to": PRIVATE, "text": PRIVATE})
    assert PRIVATE not in str(caught.value)


def read_fault(**fields: object) -> tuple[str, str]:
    """Return the field and the text of the only fault of a message."""
    with pytest.raises(ValidationError) as caught:
        events.Message.model_validate({"to": "+79990001122", **fields})
    (fault,) = caught.value.errors()
    return ".".join(map(str, fault["loc"])), fault["msg"]


def test_a_location_has_no_text() -> None:
    """The platform sends the location alone, so the text would be lost."""
    field, text = read_fault(text="We are here", location={"lat": 55.75, "lng": 37.62})
    assert (field, "message of its own" in text) == ("text", True)
    events.Message.model_validate({"to": "+79990001122", "location": {"lat": 55.75, "lng": 37.62}})


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("120363012345678901@g.us", "groups"),
        ("79990001122-1612345678@g.us", "groups"),
        ("status@broadcast", "broadcast lists"),
        ("120363012345678901@newsletter", "channels"),
        ("123456789012345@lid", "hidden"),
    ],
)
def test_an_address_that_names_no_person_is_refused_in_these_words(address: str, what: str) -> None:
    """No call of the platform is known to take it."""
    with pytest.raises(ValidationError) as caught:
        events.Message.model_validate({"to": address, "text": "Hello"})
    (fault,) = caught.value.errors()
    assert fault["loc"] == ("to",)
    assert what in fault["msg"]
    assert "cannot be written to through this platform" in fault["msg"]


PLACE = {"lat": 55.75, "lng": 37.62}
CONTACT = {"name": "Anna", "phones": ["+7 999 000-11-22"]}


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"contact": CONTACT, "text": "Call her"}, "text", "message of its own"),
        ({"contact": CONTACT, "location": PLACE}, "contact", "only one of"),
        ({"location": PLACE, "reply_to": str(uuid4())}, "reply_to", "message of its own"),
        ({"contact": {"name": "Anna", "phones": []}}, "contact.phones", "at least 1"),
        ({"contact": {"name": " ", "phones": ["+7"]}}, "contact.name", "pattern"),
        ({"contact": {"name": "Anna", "phones": ["none", "7"]}}, "contact.phones.0", "pattern"),
        ({"reply_to": str(uuid4())}, "text", "give a text"),
    ],
    ids=["text", "two", "quote", "no phone", "no name", "no digits", "only a reply"],
)
def test_a_message_is_of_one_kind(fields: dict[str, object], field: str, text: str) -> None:
    found, message = read_fault(**fields)
    assert (found, text in message) == (field, True), message


@pytest.mark.parametrize(
    "url", ["https://anna:secret@files.test/a.pdf", "https://anna@files.test/a.pdf"]
)
def test_credentials_in_a_url_are_refused(url: str) -> None:
    """The URL is stored, shown in the CRM and passed to the platform."""
    field, text = read_fault(media={"type": "document", "url": url})
    assert (field, "password" in text) == ("media.url", True)


@pytest.mark.parametrize(("length", "valid"), [(8192, True), (8193, False)])
def test_a_url_has_up_to_8_kilobytes(length: int, valid: bool) -> None:  # noqa: FBT001
    """Signed URLs of storage services are long."""
    url = "https://files.test/a.pdf?signature="
    media = {"type": "document", "url": url + "x" * (length - len(url))}
    if valid:
        events.Message.model_validate({"to": "+79990001122", "media": media})
    else:
        assert read_fault(media=media)[0] == "media.url"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("я" * 65_536, True),
        ("я" * 65_537, False),
        ("👍" * 32_768, True),
        ("👍" * 32_769, False),
    ],
    ids=["letters", "too many letters", "emoji", "too many bytes"],
)
def test_a_text_is_limited_in_characters_and_bytes(text: str, valid: bool) -> None:  # noqa: FBT001
    """65,536 emoji took 600 KB of Redis each."""
    if valid:
        events.Message.model_validate({"to": "+79990001122", "text": text})
    else:
        assert read_fault(text=text)[0] == "text"
