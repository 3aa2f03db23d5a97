"""The settings read again while the gate serves: what can be put in force is, what needs a restart is named.

In force at once is what is listed here: who may call, whom to ask, how much, and in which mode. A request that is under
way is finished by the settings it was met by. A faulty file changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from proxy.config import Chain, Config
from proxy.errors import ConfigErrors
from proxy.ports import Deed

_LOG: Final = logging.getLogger(__name__)

TOP: Final = (
    *("mode", "previews", "clients", "cors", "trusted_proxies", "forwarded_by"),
    *("admin_token", "admin_read_token", "admin_hosts", "admin_open", "log", "drain_seconds"),
)
LIMITS: Final = (
    *("max_body_bytes", "max_batch", "max_depth", "max_elements", "request_seconds"),
    *("absent_sessions", "in_flight_per_session", "in_flight_per_account"),
)
OF_A_CHAIN: Final = ("bundlers", "allow_methods", "fee_methods", "status_methods")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOutcome:
    """What came of reading the settings again: names of settings, as paths; with `faults` nothing is in force."""

    in_force: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def differences(before: Config, after: Config) -> Iterator[str]:
    """The paths of the settings that differ; of chains those of each chain's."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name == "limits":
            yield from (f"limits.{key}" for key in type(old).model_fields if getattr(old, key) != getattr(new, key))
        elif name == "chains":
            yield from _of_chains(before, after)
        else:
            yield name


def _of_chains(before: Config, after: Config) -> Iterator[str]:
    for name in dict.fromkeys((*before.chains, *after.chains)):
        old, new = before.chains.get(name), after.chains.get(name)
        if old is None or new is None:
            yield f"chains.{name}"
        else:
            yield from (f"chains.{name}.{key}" for key in Chain.model_fields if getattr(old, key) != getattr(new, key))


def can_be_put_in_force(path: str) -> bool:
    """Whether a setting needs no restart."""
    head, _, rest = path.partition(".")
    if head == "chains":
        return rest.partition(".")[2] in OF_A_CHAIN
    return rest in LIMITS if head == "limits" else head in TOP


def merged(before: Config, after: Config) -> Config:
    """`before` with everything of `after` that needs no restart."""
    limits = before.limits.model_copy(
        update={key: getattr(after.limits, key) for key in LIMITS if key in type(before.limits).model_fields}
    )
    chains = {
        name: chain.model_copy(update={key: getattr(after.chains[name], key) for key in OF_A_CHAIN})
        if name in after.chains
        else chain
        for name, chain in before.chains.items()
    }
    top = {name: getattr(after, name) for name in TOP}
    return before.model_copy(update={**top, "limits": limits, "chains": chains})


class SettingsReload:
    """Reads again and puts in force. `reread` gives the settings as the file and the environment are now, and may
    block; `apply` puts them in force; `noted` is told of it."""

    def __init__(
        self,
        config: Config,
        *,
        reread: Callable[[], Config],
        apply: Callable[[Config], Awaitable[None]],
        noted: Callable[[Deed], None],
    ) -> None:
        self._config = config
        self._reread = reread
        self._apply = apply
        self._noted = noted
        self._one_at_a_time = asyncio.Lock()

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self._config

    async def reload(self, who: str, why: str = "") -> SettingsOutcome:
        """Read the settings again; `who` says on whose word, and goes on record with `why` and what came of it."""
        async with self._one_at_a_time:
            try:
                after = await asyncio.to_thread(self._reread)
            except ConfigErrors as errors:
                for fault in errors.faults:
                    _LOG.error("settings: %s", fault)
                _LOG.error("settings not reloaded: %d faults; those before stay in force", len(errors.faults))
                self._noted(
                    Deed(what="settings_not_reloaded", who=who, why=why, details={"faults": len(errors.faults)})
                )
                return SettingsOutcome(faults=tuple(str(fault) for fault in errors.faults))
            paths = tuple(differences(self._config, after))
            outcome = SettingsOutcome(
                in_force=tuple(path for path in paths if can_be_put_in_force(path)),
                needs_restart=tuple(path for path in paths if not can_be_put_in_force(path)),
            )
            if outcome.in_force:
                both = merged(self._config, after)
                await self._apply(both)
                self._config = both
            self._tell(outcome, who, why)
            return outcome

    def _tell(self, outcome: SettingsOutcome, who: str, why: str) -> None:
        if outcome.in_force:
            _LOG.info("settings reloaded: %s in force", ", ".join(outcome.in_force))
        if outcome.needs_restart:
            _LOG.warning("settings: %s changed, and need a restart", ", ".join(outcome.needs_restart))
        details = {"inForce": ", ".join(outcome.in_force), "needsRestart": ", ".join(outcome.needs_restart)}
        self._noted(Deed(what="settings_reloaded", who=who, why=why, details=details))
