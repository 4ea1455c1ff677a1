"""Read what people chose: list, button and form answers, polls and votes.

Each reader returns the text for people and the structure for the metadata, or None.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shared.webhooks.fields import find_object, find_value, parse_id, parse_text
from shared.webhooks.message_ids import read_quoted_id

MAX_OPTIONS = 50
_MAX_TEXT = 1024
_MAX_JSON = 65_536
_POLL_ID_FIELDS = ("msgId", "pollId", "pollMessageId", "pollCreationMessageKey", "parentMsgKey")
_ANSWER_FIELDS = frozenset(
    {
        *("listResponse", "listResponseMessage", "singleSelectReply", "selectedDisplayText"),
        *("selectedRowTitle", "buttonText", "selectedButtonId", "selectedButtonID", "button"),
        *("selectedRowId", "selectedId", "selectedID", "buttonsResponse", "buttonsResponseMessage"),
        *("templateButtonReplyMessage", "interactive", "button_reply", "list_reply"),
        *("buttonReply", "listReply", "nfm_reply", "nativeFlowResponseMessage"),
        *("interactiveResponse",),
    }
)
VOTE_WORDS = frozenset(
    {"poll.vote", "onpollresponse", "poll.response", "poll.update", "pollupdatemessage", "vote"}
)


class Description(NamedTuple):
    """The content of a message that is no plain text: for people, and as structure."""

    text: str
    metadata: dict[str, Any]


def describe_answer(fields: Mapping[str, Any]) -> Description | None:
    """Return the chosen item of a list, a button, or a filled form."""
    if _ANSWER_FIELDS.isdisjoint(fields):
        return None
    for source, title_names, id_names in _list_answer_places(fields):
        title = parse_text(find_value(source, *title_names))
        chosen = parse_id(find_value(source, *id_names))
        if title or chosen:
            parts = {"title": title, "id": chosen, "description": _text(source, "description")}
            answer = {name: text[:_MAX_TEXT] for name, text in parts.items() if text}
            return Description(title or chosen or "", {"answer": answer})
    return _describe_form(fields)


def describe_poll(fields: Mapping[str, Any]) -> Description | None:
    """Return the question of a poll with its options."""
    poll = find_object(fields, "poll")
    question = _text(fields, "pollName", "pollTitle", "pollQuestion") or _text(
        poll, "name", "title", "question"
    )
    options = _list_options(
        find_value(fields, "pollOptions", "options")
        or find_value(poll, "options", "pollOptions", "values")
    )
    if not question:
        question = _text(fields, "name", "title", "question") if options else None
    if not question:
        return None
    lines = [question, *(f"• {option}" for option in options)]
    return Description("\n".join(lines), {"poll": {"question": question, "options": options}})


def is_vote(words: tuple[str, ...]) -> bool:
    """Return whether an event of these types is a vote in a poll."""
    return not VOTE_WORDS.isdisjoint(words)


def describe_vote(fields: Mapping[str, Any]) -> Description:
    """Return the options that a person chose in a poll; none withdraws an earlier vote."""
    vote = find_object(fields, "vote")
    selected = find_value(fields, "selectedOptions", "selected", "options") or find_value(
        vote, "selectedOptions", "selected", "options"
    )
    options = _list_options(selected)
    poll = read_poll_id(fields)
    is_encrypted = "encPayload" in vote or not ("selectedOptions" in fields or vote or selected)
    text = ", ".join(options) or ("[Poll vote]" if is_encrypted else "[Vote withdrawn]")
    return Description(text, {"vote": {"options": options} | ({"poll": poll} if poll else {})})


def read_poll_id(fields: Mapping[str, Any]) -> str | None:
    """Return the id of the poll that a vote is about."""
    for name in _POLL_ID_FIELDS:
        if found := parse_id(fields.get(name)):
            return found
    return parse_id(find_object(fields, "poll").get("id")) or read_quoted_id(fields)


def _list_answer_places(
    fields: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...], tuple[str, ...]]]:
    """Yield the objects that may hold an answer, with the fields of its title and its id."""
    listed = find_object(fields, "listResponse") or find_object(fields, "listResponseMessage")
    row = find_object(listed, "singleSelectReply") or find_object(fields, "singleSelectReply")
    if listed or row:
        row_id = find_value(row, "selectedRowId", "selectedRowID")
        title = find_value(listed or fields, "title", "description")
        yield {"title": title, "id": row_id, **_only(listed, "description")}, ("title",), ("id",)
    titles = ("selectedDisplayText", "selectedRowTitle", "buttonText")
    ids = ("selectedButtonId", "selectedButtonID", "selectedRowId", "selectedId", "selectedID")
    yield fields, titles, ids
    for name in ("buttonsResponse", "buttonsResponseMessage", "templateButtonReplyMessage"):
        yield find_object(fields, name), titles, ids
    interactive = find_object(fields, "interactive")
    for name in ("button_reply", "list_reply", "buttonReply", "listReply"):
        yield find_object(interactive, name), ("title", "text"), ("id",)
        yield find_object(fields, name), ("title", "text"), ("id",)
    yield find_object(fields, "button"), ("text", "title"), ("payload", "id")
    permission = find_object(interactive, "call_permission_reply")
    yield permission, ("response",), ()


def _describe_form(fields: Mapping[str, Any]) -> Description | None:
    """Return the answers of a form ("flow"), and of native buttons, which come as JSON."""
    interactive = find_object(fields, "interactive")
    reply = (
        find_object(interactive, "nfm_reply")
        or find_object(fields, "nfm_reply")
        or find_object(fields, "nativeFlowResponseMessage")
        or find_object(find_object(fields, "interactiveResponse"), "nativeFlowResponseMessage")
    )
    if not reply:
        return None
    values = _parse_json(find_value(reply, "response_json", "paramsJson"))
    body = find_value(fields, "body")
    said = _text(body, "text") if isinstance(body, dict) else _text(reply, "body")
    shown = [
        f"{name}: {text}"
        for name, value in values.items()
        if name not in ("flow_token", "wa_flow_response_params") and (text := parse_text(value))
    ]
    chosen = parse_text(find_value(values, "title", "display_text", "id"))
    text = said or chosen or "\n".join(shown)
    name = _text(reply, "name")
    answer: dict[str, Any] = {"values": values} | ({"name": name} if name else {})
    lines = [text, *shown] if shown and text not in "\n".join(shown) and not chosen else [text]
    return Description("\n".join(filter(None, lines)), {"answer": answer})


def _parse_json(value: Any) -> dict[str, Any]:
    if not isinstance(value, str) or len(value) > _MAX_JSON:
        return {}
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(parsed, dict):
        return {}
    texts = {str(name)[:64]: parse_text(item) for name, item in list(parsed.items())[:MAX_OPTIONS]}
    return {name: text[:_MAX_TEXT] for name, text in texts.items() if text}


def _list_options(value: Any) -> list[str]:
    """Return the texts of options, which are texts or objects."""
    found = []
    for option in value[:MAX_OPTIONS] if isinstance(value, list) else ():
        if isinstance(option, dict):
            option = find_value(option, "name", "optionName", "title", "text", "localId")  # noqa: PLW2901
        if text := parse_text(option):
            found.append(text[:_MAX_TEXT])
    return found


def _text(fields: Mapping[str, Any], *names: str) -> str | None:
    text = parse_text(find_value(fields, *names))
    return text[:_MAX_TEXT] if text else None


def _only(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}
