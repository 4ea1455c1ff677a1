"""The kind of a file by its link."""

import pytest

from shared.file_types import find_kind


@pytest.mark.parametrize(
    ("url", "name", "found"),
    [
        ("https://x/a.JPG?token=b.pdf", None, ("image", "image/jpeg")),
        ("https://x/a.jpeg", None, ("image", "image/jpeg")),
        ("https://x/a%2Emov", None, ("video", "video/quicktime")),
        ("https://x/a.opus", None, ("audio", "audio/ogg")),
        ("https://x/a.docx", None, ("document", None)),
        ("https://x/object", "photo.png", ("image", "image/png")),
        ("https://x/object", None, ("document", None)),
        ("https://[x", "photo", ("document", None)),
    ],
    ids=range(8),
)
def test_the_link_decides_and_then_the_name(
    url: str, name: str | None, found: tuple[str, str | None]
) -> None:
    """A query is no extension; unknown types are documents."""
    kind, mime = find_kind(url, name)
    assert kind == found[0]
    assert found[1] in {None, mime}
