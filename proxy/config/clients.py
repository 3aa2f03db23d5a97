"""Settings of who may call, what each may do, and which pages browsers let call."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from proxy.clients.keys import digest_written
from proxy.clients.rations import Ration
from proxy.config.base import Settings
from proxy.config.endpoints import NetworkText, Origin
from proxy.config.fields import AddressText, HashText, fault, shorten


class ClientRates(Settings):
    """So many a second, and ten seconds' worth at once; what is not set is not bounded."""

    requests: float | None = Field(None, gt=0, le=1_000_000)  # each element of a batch is one
    operations: float | None = Field(None, gt=0, le=1_000_000)  # handed in, whatever the verdict
    estimates: float | None = Field(None, gt=0, le=1_000_000)
    absent_sessions: float | None = Field(None, gt=0, le=1_000_000)  # named in vain; not set: limits.absent_sessions

    def by_ration(self) -> dict[Ration, float]:
        """Those that are set."""
        return {Ration(name): value for name, value in self if value is not None}


ApiKey = Annotated[SecretStr, Field(min_length=8)]


class Client(Settings):
    """A dapp that may call, known by its key or by the origins its pages are served from. Empty lists allow all."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["trading-dapp"])
    api_key: ApiKey | None = None  # or sha256:… and its digest
    api_keys: tuple[ApiKey, ...] = ()  # further ones, while they are changed
    origins: tuple[Origin, ...] = ()
    networks: tuple[NetworkText, ...] = ()  # from where it calls
    chains: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    accounts: tuple[AddressText, ...] = ()  # whose operations it sends
    permission_ids: tuple[HashText, ...] = ()  # whose sessions' operations alone it sends
    rates: ClientRates = ClientRates()
    list_sessions: bool = False  # answer it sessiongate_listSessions

    @property
    def key_digests(self) -> tuple[bytes, ...]:
        """What its keys are known by."""
        keys = self.api_keys if self.api_key is None else (self.api_key, *self.api_keys)
        return tuple(digest_written(key.get_secret_value()) for key in keys)


def _read_header(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[a-z0-9-]{1,64}", value):
        raise fault(f"{shorten(value)} cannot name a header", "write it in lower case: traceparent")
    return value


HeaderName = Annotated[str, BeforeValidator(_read_header)]


class Cors(Settings):
    """Browser pages that may call besides the clients' own origins, and what they may send along; `*` is any page."""

    origins: tuple[Origin, ...] = ("*",)
    headers: tuple[HeaderName, ...] = ()  # beside the usual ones
