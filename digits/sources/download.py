"""Download data sets from https:// addresses, check their SHA-256, and keep them in the user's cache."""

import re
from pathlib import Path

from dvcproof.runtime.program import InputError, on_terminal

_PINNED = re.compile(r"(?P<url>https://[^#]+)#sha256=(?P<sha256>[0-9a-fA-F]{64})")


def download(source: str) -> Path:
    """Download `https://host/file.npz#sha256=<64 hex digits>` if it is not in the cache. Return the path in the cache.

    Raise InputError if the address has another form, the download fails, or the file has another SHA-256.
    """
    match = require_pinned(source)
    import pooch  # imported here: it takes a tenth of a second, which a local source does not need
    import requests

    url, sha256 = match["url"], match["sha256"].lower()
    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = pooch.HTTPDownloader(progressbar=on_terminal(), timeout=30)
        cache = pooch.os_cache("digits")
        path = pooch.retrieve(url, f"sha256:{sha256}", fname=f"{sha256[:16]}.npz", path=cache, downloader=downloader)
    except (requests.RequestException, ValueError) as error:
        if found := re.search(rf"{sha256} but got ([0-9a-f]{{64}})", str(error)):
            hint = "Check both in `load.source`."
            raise InputError(url, expected=f"the SHA-256 {sha256}", received=found[1], hint=hint) from None
        reason = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>(: )?", "", str(error))
        raise InputError(url, f"the download failed: {reason}", hint="Check the address and the network.") from None
    return Path(path)


def require_pinned(source: str) -> re.Match[str]:
    """Return the `url` and `sha256` of an address. Raise InputError if it has another form."""
    if match := _PINNED.fullmatch(source):
        return match
    hint = "Use https, and append #sha256= and the file's SHA-256 (`sha256sum FILE`)."
    raise InputError(f"data set '{source}'", "the address has no https or no SHA-256", hint=hint)
