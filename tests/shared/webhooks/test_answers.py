"""What people chose is the text of their message, with its structure beside it."""

from typing import Any

import pytest

from shared.webhooks.answers import describe_answer, describe_poll, describe_vote

POLL_ID = "true_79990001122@c.us_3EB0"


@pytest.mark.parametrize(
    ("fields", "text", "answer"),
    [
        (
            {"listResponse": {"title": "Mon", "singleSelectReply": {"selectedRowId": "r1"}}},
            "Mon",
            {"title": "Mon", "id": "r1"},
        ),
        ({"listResponse": {"singleSelectReply": {"selectedRowId": "r1"}}}, "r1", {"id": "r1"}),
        (
            {"title": "Mon", "singleSelectReply": {"selectedRowId": "r1"}},
            "Mon",
            {"title": "Mon", "id": "r1"},
        ),
        (
            {"selectedButtonId": "b1", "selectedDisplayText": "Yes"},
            "Yes",
            {"title": "Yes", "id": "b1"},
        ),
        ({"selectedButtonId": "b1"}, "b1", {"id": "b1"}),
        ({"selectedId": "b1", "selectedDisplayText": "Yes"}, "Yes", {"title": "Yes", "id": "b1"}),
        (
            {"interactive": {"type": "list_reply", "list_reply": {"id": "r1", "title": "Mon"}}},
            "Mon",
            {"title": "Mon", "id": "r1"},
        ),
        (
            {"interactive": {"button_reply": {"id": "yes", "title": "Yes"}}},
            "Yes",
            {"title": "Yes", "id": "yes"},
        ),
        (
            {"button": {"text": "Confirm", "payload": "x"}},
            "Confirm",
            {"title": "Confirm", "id": "x"},
        ),
        (
            {
                "interactive": {
                    "nfm_reply": {
                        "name": "flow",
                        "body": "Sent",
                        "response_json": '{"day": "Mon", "flow_token": "t"}',
                    }
                }
            },
            "Sent\nday: Mon",
            {"name": "flow", "values": {"day": "Mon", "flow_token": "t"}},
        ),
        (
            {"nativeFlowResponseMessage": {"name": "menu", "paramsJson": '{"id": "row1"}'}},
            "row1",
            {"name": "menu", "values": {"id": "row1"}},
        ),
        ({"nativeFlowResponseMessage": {"paramsJson": "no JSON"}}, "", {"values": {}}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_answer_is_read(fields: dict[str, Any], text: str, answer: dict[str, Any]) -> None:
    found = describe_answer(fields)
    assert found == (text, {"answer": answer})


@pytest.mark.parametrize("fields", [{}, {"text": "hi"}, {"button": "x"}, {"interactive": []}])
def test_a_message_without_an_answer_has_none(fields: dict[str, Any]) -> None:
    assert describe_answer(fields) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"pollName": "Day?", "pollOptions": [{"name": "Mon"}, {"name": "Tue"}]},
        {"name": "Day?", "options": [{"optionName": "Mon"}, {"optionName": "Tue"}]},
        {"poll": {"name": "Day?", "options": ["Mon", "Tue"], "multipleAnswers": False}},
        {"pollName": "Day?", "pollOptions": [None, {"name": "Mon"}, {}, "Tue"]},
    ],
)
def test_a_poll_is_its_question_with_its_options(fields: dict[str, Any]) -> None:
    found = describe_poll(fields)
    assert found
    assert found.text == "Day?\n• Mon\n• Tue"
    assert found.metadata == {"poll": {"question": "Day?", "options": ["Mon", "Tue"]}}


@pytest.mark.parametrize(
    "fields",
    [
        {"msgId": {"_serialized": POLL_ID}, "selectedOptions": [{"name": "Mon"}]},
        {"vote": {"selectedOptions": ["Mon"]}, "poll": {"id": POLL_ID}},
        {"selectedOptions": [{"name": "Mon"}], "parentMsgKey": {"_serialized": POLL_ID}},
    ],
)
def test_a_vote_is_what_was_chosen(fields: dict[str, Any]) -> None:
    assert describe_vote(fields) == ("Mon", {"vote": {"options": ["Mon"], "poll": POLL_ID}})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"selectedOptions": []}, "[Vote withdrawn]"),
        ({"vote": {"encPayload": "x"}}, "[Poll vote]"),
        ({}, "[Poll vote]"),
    ],
)
def test_a_vote_without_options_has_a_label(fields: dict[str, Any], text: str) -> None:
    assert describe_vote(fields).text == text
