"""Results of the platform's calls."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import SecretStr

from shared.outcomes import Substitute

AccountStatus = Literal["connected", "starting", "offline", "qr_required"]
BASE64_IMAGE = re.compile(r"(iVBORw0KGgo|/9j/)[A-Za-z0-9+/\s]{60,}={0,2}")


class QrCode(str):
    """What to scan: a raw pairing string to draw as a code, or an image as a `data:` URL."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Recognize a raw pairing string, a data URL, and a PNG or JPEG in bare base64."""
        if not isinstance(value, str) or not value.strip():
            return None
        text = value.strip()
        if found := BASE64_IMAGE.fullmatch(text):
            kind = "png" if found[1].startswith("iVBOR") else "jpeg"
            text = f"data:image/{kind};base64,{''.join(text.split())}"
        return cls(text)

    @property
    def is_image(self) -> bool:
        return self.startswith("data:image")

    def __repr__(self) -> str:
        return "QrCode(…)"


@dataclass(frozen=True, slots=True)
class CreatedClient:
    """The platform's client of an organization id, new or existing. `account` is its session id."""

    api_key: SecretStr
    account: str
    status: str


@dataclass(frozen=True, slots=True)
class StartResult:
    status: Literal["connected", "starting", "qr"]
    qr: QrCode | None


@dataclass(frozen=True, slots=True)
class SendResult:
    """The platform accepted the message. `task_id` is its queue id, None if the answer has none.

    `substitute` is what went out because the platform has no route for the message.
    """

    task_id: str | None
    substitute: Substitute | None = None


@dataclass(frozen=True, slots=True)
class MediaDownload:
    """A media file as it streams in. `length` is the announced size in bytes."""

    content_type: str
    filename: str | None
    length: int | None
    chunks: Iterator[bytes]
