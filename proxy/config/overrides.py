"""Settings from the environment: every key of the file can be overridden by a variable.

`SESSIONGATE_CHAINS__SONEIUM__NODE` is `chains.soneium.node`, `SESSIONGATE_CLIENTS__0__NAME` the name of the first
client. A list or a mapping is given as YAML: `SESSIONGATE_CORS__ORIGINS=[https://dapp.example]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from proxy.config.variables import referenced_variables
from proxy.document import Document, Location, Place, did_you_mean, fold, print_location, read_yaml

PREFIX: Final = "SESSIONGATE_"
CONFIG_VARIABLE: Final = "SESSIONGATE_CONFIG"
"""Names the file itself, for the command line; not a setting."""

# a Kubernetes Service called "sessiongate" puts these into the environment of every pod beside it
_SERVICE_LINK = re.compile(r"SESSIONGATE(_SERVICE_HOST|_SERVICE_PORT(_.*)?|_PORT(_\d+_(TCP|UDP|SCTP).*)?)\Z")


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at a location: `keys` of a fixed set, names of ops' choosing, a list, or a single text."""

    keys: tuple[str, ...] = ()
    open_keys: bool = False
    is_list: bool = False

    @property
    def is_text(self) -> bool:
        """Whether a single text stands here."""
        return not (self.keys or self.open_keys or self.is_list)


ShapeAt = Callable[[Location], Shape]


def apply_overrides(document: Document, environ: Mapping[str, str], shape_at: ShapeAt) -> None:
    """Write every `SESSIONGATE_…` variable over the key that it names; one that names none is a fault.

    A variable that the file itself refers to by `${…}` is no override.
    """
    referenced = {CONFIG_VARIABLE, *referenced_variables(document.data)}
    if document.data is None:
        document.data = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in referenced and not _SERVICE_LINK.match(name):
            _apply(document, name, environ[name], shape_at)


def _apply(document: Document, name: str, text: str, shape_at: ShapeAt) -> None:
    place = Place(f"${name}", 1)
    location = _locate(document, name, place, shape_at)
    if location is None:
        return
    value: object = text
    _forget_places(document, location)
    if not shape_at(location).is_text:
        value = read_yaml(document, text, place.path, location)
    document.keys[location] = place
    document.values.setdefault(location, place)
    if not _write(document.data, location, value):
        parent = print_location(location[:-1]) or "the file"
        document.fault(place, f"{parent} holds nothing to set {location[-1]} in", "number list entries without gaps")


def _forget_places(document: Document, location: Location) -> None:
    for places in (document.keys, document.values):
        for known in [known for known in places if known[: len(location)] == location]:
            del places[known]
    document.broken = {known for known in document.broken if known[: len(location)] != location}


def _locate(document: Document, name: str, place: Place, shape_at: ShapeAt) -> Location | None:
    location: Location = ()
    for step in name.removeprefix(PREFIX).split("__"):
        shape = shape_at(location)
        if shape.is_list:
            if not (step.isascii() and step.isdigit() and len(step) <= 4):
                problem = f"{print_location(location)} is a list and {step!r} no index into it"
                document.fault(place, problem, "write the number of the entry; the first is 0")
                return None
            location = (*location, int(step))
            continue
        key = _known_keys(document, location, shape).get(fold(step))
        if key is None:
            if not (step and shape.open_keys):
                _report_unknown(document, place, step, location, shape)
                return None
            key = step.lower()
        location = (*location, key)
    return location


def _known_keys(document: Document, location: Location, shape: Shape) -> dict[str, str]:
    known = {fold(key): key for key in shape.keys}
    written = (place[-1] for place in document.keys if place[:-1] == location)
    # the spelling in the file wins, so that a key accepted in two spellings is not set twice
    return known | {
        fold(key): key for key in written if isinstance(key, str) and (shape.open_keys or fold(key) in known)
    }


def _report_unknown(document: Document, place: Place, step: str, location: Location, shape: Shape) -> None:
    where = f" in {print_location(location)}" if location else ""
    close = did_you_mean(step, (key.upper() for key in shape.keys))
    joined = next((key for key in shape.keys if step.lower().startswith(f"{key}_")), None)
    if joined is not None:
        close = f"join the keys by two underscores: {joined.upper()}__{step[len(joined) + 1 :]}"
    document.fault(
        place,
        f"overrides no setting: there is no {step!r}{where}",
        close or "join the keys by two underscores, as in SESSIONGATE_LIMITS__MAX_BATCH",
    )


def _write(root: object, location: Location, value: object) -> bool:
    parent = root
    for step, following in pairwise(location):
        parent = _enter(parent, step, [] if isinstance(following, int) else {})
    step = location[-1]
    if isinstance(parent, dict):
        parent[step] = value
        return True
    if isinstance(parent, list) and isinstance(step, int) and step <= len(parent):
        parent[step : step + 1] = [value]
        return True
    return False


def _enter(parent: object, step: str | int, empty: object) -> object | None:
    """The list or mapping at `step`, made when nothing stands there; `None` when there is no such place."""
    found: object = None
    if isinstance(parent, dict):
        if parent.get(step) is None:
            parent[step] = empty
        found = parent[step]
    elif isinstance(parent, list) and isinstance(step, int) and step <= len(parent):
        parent.extend([empty] if step == len(parent) else [])
        found = parent[step]
    return found
