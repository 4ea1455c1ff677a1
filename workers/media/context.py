"""MediaContext: what the media handler works with, built once per process."""

from dataclasses import dataclass
from functools import cache

from shared.database import Database
from shared.database.storage import Storage
from shared.settings import MediaSettings, PlatformSettings, SupabaseSettings, load_settings
from workers.media.download import LinkFetcher
from workers.media.lease import RENEW_EVERY_S


@dataclass(frozen=True)
class MediaContext:
    """Clients and limits of the media handler. `max_bytes` is the largest file that is stored."""

    fetcher: LinkFetcher
    storage: Storage
    max_bytes: int
    renew_every_s: float = RENEW_EVERY_S


@cache
def media_context() -> MediaContext:
    """Return the media context of this process.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load_settings(MediaSettings)
    fetcher = LinkFetcher(settings, str(load_settings(PlatformSettings).wpp_base_url))
    database = Database(load_settings(SupabaseSettings), media=settings)
    return MediaContext(fetcher, database.storage, settings.wpp_media_limit)
