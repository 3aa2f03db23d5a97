"""TLS for a listener: a certificate and its key, taken anew when their files change, with no connection lost."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """`context` is for the listener: what is loaded into it counts from the next handshake on.

    Raises `OSError` (`ssl.SSLError` is one) when the files cannot be used at the start; later it stays with what it has
    loaded.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._loaded = self._stamp()
        self.context.load_cert_chain(certificate, key)

    def look(self) -> bool:
        """Take the files anew if they have changed; whether they were."""
        try:
            stamp = self._stamp()
            if stamp == self._loaded:
                return False
            # tried out first: a context keeps a certificate whose key was then refused
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
            self.context.load_cert_chain(*self._files)
        except OSError as error:  # half written, or not a pair: the next look may find them whole
            _LOG.warning("the certificate in %s is not taken: %s", self._files[0].name, type(error).__name__)
            return False
        self._loaded = stamp
        _LOG.info("the certificate in %s was taken anew", self._files[0].name)
        return True

    async def watch(self, interval_seconds: float) -> None:
        """Look for ever. Cancel to stop."""
        while True:
            await asyncio.sleep(interval_seconds)
            self.look()

    def _stamp(self) -> _Stamp:
        found = (file.stat() for file in self._files)
        return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in found)
