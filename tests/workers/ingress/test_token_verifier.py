"""Access tokens: signature, audience, issuer and role, with the project's keys."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.errors import DatabaseUnavailableError
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.members import Member
from workers.ingress import token_verifier
from workers.ingress.token_verifier import TokenVerifier

ISSUER = "https://project.supabase.co/auth/v1"
SECRET = "s" * 32
EC_KEY, OTHER_EC_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RSA_KEY = rsa.generate_private_key(65_537, 2048)
GOOD = {"sub": "user", "aud": "authenticated", "role": "authenticated", "iss": ISSUER}


def publish(**keys: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return the JSON Web Key Set of these keys, with others that are not used."""
    published = [
        {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": name, "alg": "ES256"}
        for name, key in keys.items()
    ]
    rsa_key = json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key()))
    symmetric = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"}
    return {"keys": [*published, {**rsa_key, "kid": "rsa", "alg": "RS256"}, symmetric, {}]}


class Project:
    """Publishes keys, and counts how often they are fetched."""

    def __init__(self, **keys: ec.EllipticCurvePrivateKey) -> None:
        self.keys = publish(**keys)
        self.fetched = 0
        self.away = False

    def fetch(self) -> Mapping[str, Any]:
        self.fetched += 1
        if self.away:
            msg = "Supabase: does not answer"
            raise DatabaseUnavailableError(msg)
        return self.keys


def sign(key: Any = EC_KEY, algorithm: str = "ES256", kid: str = "a", **claims: Any) -> str:
    """Return a token; None removes a claim."""
    whole = {**GOOD, "exp": time.time() + 60, **claims}
    present = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(present, key, algorithm, headers={"kid": kid})


def verify(*tokens: str, project: Project | None = None, secret: str | None = SECRET) -> list[Any]:
    async def whole() -> list[Any]:
        keys = project or Project(a=EC_KEY)
        verifier = TokenVerifier(keys.fetch, ISSUER, SecretStr(secret) if secret else None)
        return [await verifier.verify(token) for token in tokens]

    return asyncio.run(whole())


def test_tokens_of_the_project_are_genuine() -> None:
    """Signed with a private key, or with the secret."""
    tokens = [sign(), sign(RSA_KEY, "RS256", "rsa"), sign(SECRET, "HS256")]
    assert verify(*tokens) == [True] * 3


PEM = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def encode_part(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def forge_with_public_key() -> str:
    """Return a token whose HMAC has the public key as its secret."""
    claims = json.dumps({**GOOD, "exp": time.time() + 60}).encode()
    signed = encode_part(b'{"alg":"HS256","kid":"a"}') + b"." + encode_part(claims)
    return (signed + b"." + encode_part(hmac.digest(PEM, signed, "sha256"))).decode()


FORGED: dict[str, Callable[[], str]] = {
    "another key": lambda: sign(OTHER_EC_KEY),
    "another secret": lambda: sign("x" * 32, "HS256"),
    "no signature": lambda: jwt.encode({**GOOD, "exp": time.time() + 60}, "", "none"),
    "the public key as secret": forge_with_public_key,
    "unknown key": lambda: sign(OTHER_EC_KEY, kid="b"),
    "symmetric key": lambda: sign(2 * SECRET, "HS512", "oct"),
    "another project": lambda: sign(iss="https://other.supabase.co/auth/v1"),
    "another audience": lambda: sign(aud="other"),
    "service role": lambda: sign(role="service_role"),
    "anonymous key": lambda: sign(SECRET, "HS256", role="anon"),
    "expired": lambda: sign(exp=time.time() - 120),
    "without an end": lambda: sign(exp=None),
    "not yet valid": lambda: sign(nbf=time.time() + 3600),
    "made in the future": lambda: sign(iat=time.time() + 3600),
    "audience missing": lambda: sign(aud=None),
    "the id of a key for another algorithm": lambda: sign(kid="rsa"),
    "RSA under an elliptic key's id": lambda: sign(RSA_KEY, "RS256", "a"),
    "another RSA algorithm": lambda: sign(RSA_KEY, "RS512", "rsa"),
    "unsigned, said to be signed": lambda: sign().rpartition(".")[0] + ".",
    "no issuer": lambda: sign(iss=None),
    "no role": lambda: sign(role=None),
    "no user": lambda: sign(sub=None),
    "no token": lambda: "nonsense",
    "nested": lambda: "W" * 5000 + ".a.b",
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_token_is_refused(how: str) -> None:
    assert verify(FORGED[how]()) == [False]


def test_supabase_decides_where_no_key_is_known() -> None:
    """No secret is set, or the keys could never be fetched."""
    away = Project(a=EC_KEY)
    away.away = True
    assert verify(sign(SECRET, "HS256"), secret=None) == [None]
    assert verify(sign(), project=away) == [None]


def test_keys_are_fetched_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for many tokens, and for many unknown keys; again after a rotation."""

    async def story() -> None:
        project = Project(a=EC_KEY)
        verifier = TokenVerifier(project.fetch, ISSUER, None)
        assert await asyncio.gather(*(verifier.verify(sign()) for _ in range(20))) == [True] * 20
        rotated = [sign(OTHER_EC_KEY, kid="b") for _ in range(20)]
        assert [await verifier.verify(each) for each in rotated] == [False] * 20
        assert project.fetched == 1
        monkeypatch.setattr(token_verifier, "RETRY_S", 0.0)
        project.keys = publish(b=OTHER_EC_KEY)
        assert await verifier.verify(rotated[0])
        assert project.fetched == 2
        project.away = True
        monkeypatch.setattr(token_verifier, "REFRESH_S", 0.0)
        assert await verifier.verify(rotated[1]), "known keys stay in use"

    asyncio.run(story())


# In a process


@pytest.fixture(scope="module")
def verifying_ingress(
    redis_server: RedisServer, supabase_world: Supabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    """Return an ingress that knows the project's secret, and allows few failures."""
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "SUPABASE_JWT_SECRET": supabase_world.secrets.jwt,
        "WPP_FAILURE_QUOTA": "3/3000",
    }
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("verifying"), **settings
    ) as ingress:
        yield ingress


def test_a_user_behind_an_address_that_failed_too_often_is_served(
    verifying_ingress: IngressProcess, supabase_world: Supabase, database_url: str
) -> None:
    """Their token is known to be genuine before Supabase is asked."""
    member = Member.new(supabase_world, database_url)
    claims = jwt.decode(member.session["access_token"], options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 32, "HS256")
    bearers = [forged, forged, "nonsense", forged, member.session["access_token"]]
    statuses = [
        verifying_ingress.http.get(
            "/v1/integrations", headers={"Authorization": f"Bearer {bearer}"}
        ).status_code
        for bearer in bearers
    ]
    assert statuses == [401, 401, 401, 429, 200]
