"""The static files, texts and settings of the connect page."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from pydantic import SecretStr

from shared.causes import Cause
from shared.errors import ConfigurationError, NotFoundError
from shared.lanes.sweeper import WORKER_STOPPED
from shared.outcomes import SessionStatus
from shared.settings import PageSettings, SupabaseSettings
from tests.fixtures.ingress_process import IngressProcess
from workers.ingress.connect_page import FILES, STATIC, ConnectPage
from workers.ingress.messages.schemas import SendStatus

ROOT = Path(__file__).parents[3]
NODE = Path(sys.executable).with_name("node")
ENDS_OF_SENDS = (
    *ROOT.glob("workers/send/*.py"),
    *ROOT.glob("workers/*.py"),
    ROOT / "shared/webhooks/updates.py",
    ROOT / "workers/ingress/messages/cancellation.py",
)
"""Where a message is said to have failed, with the code of its failure."""
CYRILLIC = re.compile(r"[\u0400-\u04ff]")
DEMO = PageSettings(wpp_demo_user=SecretStr("demo@example.com:password"))


def supabase_at(url: str) -> SupabaseSettings:
    return SupabaseSettings.model_validate(
        {"supabase_url": url, "supabase_anon_key": "anon", "supabase_service_role_key": "service"}
    )


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://127.0.0.1:1", "http://127.1.2.3:1", "http://[::1]:1"]
)
def test_a_local_supabase_may_have_a_demo_user(url: str) -> None:
    """It cannot be reached from other machines."""
    assert ConnectPage(DEMO, supabase_at(url)).routes


@pytest.mark.parametrize(
    "url",
    [
        "https://project.supabase.co",
        "http://10.0.0.7",
        "http://localhost.example.com",
        "http://0.0.0.0:1",
    ],
)
def test_a_remote_supabase_must_not_have_a_demo_user(url: str) -> None:
    """Its password would be public in /connect/settings.json."""
    with pytest.raises(ConfigurationError, match="WPP_DEMO_USER"):
        ConnectPage(DEMO, supabase_at(url))
    assert ConnectPage(PageSettings(), supabase_at(url)).routes


def test_files_have_strict_headers(ingress: IngressProcess) -> None:
    """Each has a content security policy, and is revalidated."""
    for name in ("", *(f"/{file}" for file in FILES)):
        answer = ingress.http.get(f"/connect{name}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self';"
        )
    assert ingress.http.get("/connect/conftest.py").status_code == 404


def test_settings_are_public_only(ingress: IngressProcess) -> None:
    """Where to sign in, with the anonymous key and without the service role's."""
    answer: httpx.Response = ingress.http.get("/connect/settings.json")
    assert answer.json() == {
        "supabase_url": "http://127.0.0.1:9",
        "anon_key": "anon",
        "parents": [],
        "demo": None,
    }


@pytest.fixture(scope="module")
def texts() -> dict[str, Any]:
    """Return the texts of the page by language."""
    program = f"import('{STATIC}/texts.js').then(m => console.log(JSON.stringify(m.TEXTS)))"
    done = subprocess.run(
        [NODE, "--no-warnings", "--input-type=module", "-e", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def flatten(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return each text with its path; the forms of a plural count as one."""
    if isinstance(value, str):
        yield path, value
    elif "other" in value:
        yield path, value["other"]
    else:
        for name, inner in value.items():
            yield from flatten(inner, (*path, name))


def test_both_languages_have_the_same_texts(texts: dict[str, Any]) -> None:
    """With the same placeholders, and none is empty or left in English."""
    english, russian = (dict(flatten(texts[language])) for language in ("en", "ru"))
    assert list(english) == list(russian)
    for path, text in english.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", russian[path]))
        assert CYRILLIC.search(russian[path]), russian[path]


def test_every_text_of_the_page_exists(texts: dict[str, Any]) -> None:
    """Those that its elements and its code name."""
    html = (STATIC / "connect.html").read_text()
    code = "".join((STATIC / name).read_text() for name in FILES if name.endswith(".js"))
    named = {
        *re.findall(r'data-(?:text|label)="(\w+)"', html),
        *re.findall(r'translate\("(\w+)"', code),
    }
    assert named > {"title", "pauseTitle"}
    assert not named - set(texts["en"])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_reason_has_its_words(texts: dict[str, Any], language: str) -> None:
    """A cause in the history, and a sentence in the box wherever there is something to mend."""
    found = texts[language]
    assert set(found["states"]) == set(get_args(SessionStatus))
    assert set(found["causes"]) == set(get_args(Cause))
    fine = {"starting", "code_issued", "connected", "active_again", "removed", "paused", "resumed"}
    for cause, words in found["causes"].items():
        assert words["brief"]
        assert ("text" in words) is (cause not in fine)
    assert {f"way_{status}" for status in get_args(SendStatus)} - set(found) == {"way_scheduled"}


def test_every_failure_of_a_message_has_its_words(texts: dict[str, Any]) -> None:
    """The codes are those in the code that ends a message."""
    codes = {code for path in ENDS_OF_SENDS for code in find_codes(path)}
    assert codes > {"refused", "disabled", "expired", "given_up"}
    codes |= {NotFoundError.code, WORKER_STOPPED, "cancelled"}
    assert not codes - set(texts["en"]["failures"])


def find_codes(path: Path) -> Iterator[str]:
    """Return the constants that a module gives as the code of a failed message."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = [word.value for word in node.keywords if word.arg == "code"]
            given += node.args if "dead_letter" in name else []
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            given = [value for key, value in pairs if getattr(key, "value", "") == "code"]
        else:
            continue
        for each in given:
            for inner in (each.body, each.orelse) if isinstance(each, ast.IfExp) else (each,):
                if isinstance(inner, ast.Constant) and re.fullmatch("[a-z_]+", str(inner.value)):
                    yield str(inner.value)
