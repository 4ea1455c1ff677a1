"""A token store in memory, in place of Supabase."""

from pydantic import SecretStr

from shared.tokens.store import StoredCredentials, Token


class MemoryStore:
    """Tokens by account. An account without an entry in `keys` has its own id as API key."""

    def __init__(self, *tokens: tuple[str, Token]) -> None:
        self.tokens = dict(tokens)
        self.keys: dict[str, SecretStr | None] = {}
        self.failure: Exception | None = None
        self.loads = 0

    def load(self, account: str) -> StoredCredentials:
        self.loads += 1
        if self.failure:
            raise self.failure
        return StoredCredentials(
            self.keys.get(account, SecretStr(account)), self.tokens.get(account)
        )

    def save(self, account: str, token: Token) -> None:
        if self.failure:
            raise self.failure
        self.tokens[account] = token
