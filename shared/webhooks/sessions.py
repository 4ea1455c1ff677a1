"""Read the state of an account's session, by the words of WPPConnect, WAHA, Baileys and whatsmeow.

Words are compared in lower case and without separators: `desconnectedMobile`, `SCAN_QR_CODE`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.outcomes import SessionStatus
from shared.webhooks.fields import find_object, find_value, parse_text
from shared.webhooks.payload import Payload
from shared.webhooks.vocabulary import EventType, normalize_word

SessionMeaning = Literal[
    "connected", "away", "unlinked", "elsewhere", "blocked", "failed", "passing"
]
"""away: the phone or the browser is not reached. unlinked: the phone ended the link. elsewhere:
another session of the number took over. passing: a step on the way, which changes no state."""

LATE = timedelta(seconds=30)
"""An event that the platform made earlier than this before its arrival was delayed on its way."""

STATUS_FIELD_TYPES = frozenset(
    {
        *("status", "session.status", "session.state", "connection.update", "status.find"),
        *("state.change", "change.state", "onstatechange", "onstreamchange", "onstatuschange"),
        *("session.update", "instance.status", "account.status", "statechange"),
    }
)
"""Types whose `status` or `state` field tells whether they are about a message or a session."""

_WORDS: dict[SessionMeaning, str] = {
    "connected": """
        connected ready open inchat islogged qrreadsuccess normal working online synced
        authenticated successchat chatsavailable connectionopen pairsuccess main resuming
    """,
    "away": """
        offline disconnected close closed closesession browserclose serverclose autoclosecalled
        autoclose desconnectedmobile disconnectedmobile phonenotconnected devicenotconnected
        serverwssnotconnected noopenbrowser stopped sessionstopped timeout timedout
        connectionlost connectionclosed unavailableservice keepalivetimeout phonedisconnected
        navigation 408 428 503
    """,
    "unlinked": """
        logout loggedout logoutsession notlogged unpaired unpairedidle deletetoken
        scanqrcode qrreadfail qrreaderror devicelogout deviceremoved removed multidevicemismatch
        badsession loggedoutfromphone logoutinstance removeinstance 401 411 500
    """,
    "elsewhere": """
        conflict replaced connectionreplaced streamreplaced sessionreplaced 440
    """,
    "blocked": """
        banned ban blocked forbidden tosblock smbtosblock temporaryban tempbanned suspended
        restricted accountbanned 402 403 406
    """,
    "failed": """
        failed failure error authfailure autherror authenticationfailure proxyblock
        deprecatedversion clientoutdated connectfailure erropagewhatsapp crashed 405
    """,
    "passing": """
        opening connecting starting syncing loading loadingscreen pairing initbrowser openbrowser
        connectbrowserws initwhatsapp successpagewhatsapp waitforlogin waitchat unlaunched
        restarting reconnecting phonecode pairingcode 515
    """,
}
SESSION_WORDS: dict[str, SessionMeaning] = {
    word: meaning for meaning, words in _WORDS.items() for word in words.split()
}

_GENERAL_WORDS = frozenset(
    {
        *("open", "close", "closed", "error", "failed", "failure", "removed", "main", "normal"),
        *("blocked", "restricted", "timeout"),
    }
)
"""Words that mean a session only as the value of its state: as a type they may mean all kinds."""

EVENT_OF_MEANING: dict[SessionMeaning, EventType] = {
    "connected": "connected",
    "away": "disconnected",
    "unlinked": "disconnected",
    "elsewhere": "disconnected",
    "blocked": "session_error",
    "failed": "session_error",
    "passing": "session_passing",
}
STATUS_OF_EVENT: dict[EventType, SessionStatus] = {
    "connected": "connected",
    "disconnected": "disconnected",
    "session_error": "error",
}
ADVICE: dict[SessionMeaning, str] = {
    "unlinked": "the phone is no longer linked; reconnect the number and scan a new QR code",
    "elsewhere": "another session of this number took over; end it, then reconnect",
    "blocked": "WhatsApp blocks this number; open WhatsApp on the phone and follow its notice",
    "failed": "the session failed to start; reconnect the number, and scan a QR code if it asks",
}
"""What to do about a lost session. If it is `away`, it comes back by itself or is reconnected."""
_STATE_FIELDS = ("status", "state", "connection")
_CODE_FIELDS = ("statusReason", "statusCode", "disconnectReason", "reason")
_CHAT_FIELDS = ("from", "chatId", "to", "text", "body", "remoteJid")


def find_meaning(payload: Payload) -> SessionMeaning | None:
    """Return what an event says about its session, or None where it is about something else.

    An event that also has the id of a message is about that message.
    """
    for name in _CHAT_FIELDS:
        if payload.fields.get(name):
            return None
    meaning: SessionMeaning | None = None
    if not STATUS_FIELD_TYPES.isdisjoint(payload.types):
        state = parse_text(find_value(payload.fields, *_STATE_FIELDS))
        meaning = _look_up(state) or _look_up_code(payload.fields)
    else:
        meaning = next(filter(None, map(_look_up_type, payload.types)), None)
    if meaning == "away":
        return _look_up_code(payload.fields) or meaning
    return meaning


def explain_meaning(payload: Payload, meaning: SessionMeaning, reason: str | None) -> str:
    """Return the reason of a state in the platform's words, and what to do about it."""
    state = parse_text(find_value(payload.fields, *_STATE_FIELDS))
    is_general = meaning != "connected" and not STATUS_FIELD_TYPES.isdisjoint(payload.types)
    said = reason or (state if is_general else None) or payload.type
    advice = ADVICE.get(meaning)
    return f"{said[:200]}: {advice}" if advice else said


def order_session_time(platform_time: datetime | None, accepted_at: datetime) -> datetime:
    """Return the time that orders a state: of its arrival, or of its making where it came late.

    The platform's whole seconds are too coarse beside states that the pipeline itself observes; a
    state that was delayed on its way does not undo a later state.
    """
    if platform_time and accepted_at - platform_time > LATE:
        return platform_time
    return accepted_at


def _look_up(state: str | None) -> SessionMeaning | None:
    return SESSION_WORDS.get(normalize_word(state).replace(".", "")) if state else None


def _look_up_type(word: str) -> SessionMeaning | None:
    """Return the meaning of an event's type: a word, or `session.` and a word."""
    plain = word.removeprefix("session.").removeprefix("instance.")
    return None if plain in _GENERAL_WORDS else _look_up(plain)


def _look_up_code(fields: Mapping[str, Any]) -> SessionMeaning | None:
    """Return the meaning of the code or word that gives the reason of a closed connection."""
    error = find_object(find_object(fields, "lastDisconnect"), "error")
    output = find_object(error, "output")
    for source in (fields, output, find_object(output, "payload")):
        for name in _CODE_FIELDS:
            meaning = _look_up(parse_text(source.get(name)))
            if meaning and meaning != "connected":
                return meaning
    return None
