"""A reaction is a single emoji, as phones send it."""

import pytest

from workers.ingress.messages.emojis import check_emoji

SINGLE = {
    "heart": "❤️",
    "heart_without_variant": "❤",
    "skin_tone": "👍🏽",
    "family": "👨‍👩‍👧‍👦",
    "profession": "🧑🏿‍💻",
    "flag": "🇷🇺",
    "flag_of_a_region": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "keycap": "5️⃣",
    "rainbow_flag": "🏳️‍🌈",
    "new": "🫡",
    "copyright": "©️",
}
NONE = {
    "word": "ok",
    "digit": "5",
    "two": "👍👍",
    "with_text": "👍!",
    "spaces": " ",
    "joined_to_nothing": "👍\u200d",
    "half_a_flag": "🇷",
    "variant_alone": "\ufe0f",
    "long": "👍\u200d" * 20 + "👍",
}


@pytest.mark.parametrize("text", SINGLE.values(), ids=SINGLE)
def test_one_emoji(text: str) -> None:
    """Also with several code points."""
    assert check_emoji(text) == text


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_anything_else(text: str) -> None:
    """Is refused."""
    with pytest.raises(ValueError, match="single emoji"):
        check_emoji(text)
