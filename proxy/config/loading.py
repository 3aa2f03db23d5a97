"""From a file and an environment to a `Config`, or to every fault in them at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from hashlib import blake2b
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from proxy.config.checks import check_agreement
from proxy.config.endpoints import Endpoint, LedgerPlace, NodeEndpoints
from proxy.config.explain import explain
from proxy.config.overrides import Shape, apply_overrides
from proxy.config.settings import Config
from proxy.config.variables import expand
from proxy.document import Document, Location, Place, read_yaml
from proxy.errors import ConfigErrors, ConfigFault


def load_config(
    path: Path | str, environ: Mapping[str, str], *, secrets: bool = True, needed: Collection[Location] = ()
) -> Config:
    """Read the settings in `path`, overridden by `environ`. Raises `ConfigErrors` with every fault found.

    Without `secrets`, keys and URLs that refer to what is not here are stood in for: enough to look at what a gate has
    written, and nobody can be reached with them. Those that are `needed` all the same are named by their locations.
    """

    def stand_in(location: Location, reference: str, whole: bool) -> str | None:
        return None if secrets or location in needed else _stand_in(location, reference, whole)

    document = _read_file(Path(path))
    apply_overrides(document, environ, shape_at)
    values = expand(document, environ, stand_in)
    config = _validate(document, values)
    if config is None or document.faults:
        raise ConfigErrors(_in_order(document))
    return _from_folder(config, Path(path).parent)


def _read_file(path: Path) -> Document:
    document = Document()
    place = Place(str(path), 1)
    document.values[()] = place
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        document.fault(place, f"cannot be read: {error.strerror}", "check the path and who may read it")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        document.fault(Place(str(path), line), "not UTF-8 text", "save the file as UTF-8")
    else:
        document.data = read_yaml(document, text, str(path))
    if document.faults and document.data is None:
        raise ConfigErrors(_in_order(document))
    return document


def _stand_in(location: Location, reference: str, whole: bool) -> str | None:
    """For a secret, or a URL that may hold one; different for each, for no two clients may have the same key."""
    around = {_annotation_at(location), _annotation_at(location[:-1])}
    if not around & {SecretStr, Endpoint, NodeEndpoints}:
        return None
    text = f"unset-{blake2b(reference.encode(), digest_size=8).hexdigest()}"
    return f"https://unset.invalid/{text}" if whole else text


def _validate(document: Document, values: object) -> Config | None:
    config = None
    try:
        config = Config.model_validate({} if values is None else values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            explain(document, details, shape_at)
    check_agreement(document, values, config)
    return config


def _in_order(document: Document) -> list[ConfigFault]:
    own = document.values[()].path
    return sorted(document.faults, key=lambda fault: (fault.path != own, fault.path, fault.line))


def _from_folder(config: Config, folder: Path) -> Config:
    update: dict[str, object] = {}
    place = config.ledger.path
    if place is not None and not place.is_absolute():
        update["ledger"] = LedgerPlace(folder / place)
    heads = config.audit.heads
    update["audit"] = config.audit.model_copy(
        update={
            "path": None if config.audit.path is None else folder / config.audit.path,
            "heads": heads.model_copy(update={"file": None if heads.file is None else folder / heads.file}),
        }
    )
    for name, tls in (("tls", config.tls), ("admin_tls", config.admin_tls)):
        if tls is not None:
            files = {"certificate": folder / tls.certificate, "key": folder / tls.key}
            update[name] = tls.model_copy(update=files)
    if config.rules:
        update["rules"] = tuple(_pattern_from(folder, pattern) for pattern in config.rules)
    return config.model_copy(update=update)


def _pattern_from(folder: Path, pattern: str) -> str:
    # absolute, so that it means the same to whoever reads it later; a bracket in the folder's name is no pattern
    return pattern if Path(pattern).is_absolute() else str(Path(escape(str(folder.absolute()))) / pattern)


@dataclass(frozen=True, slots=True)
class RulePattern:
    """One entry of `rules:`, starting at the folder of the settings, and where it is written."""

    pattern: str
    place: Place


def rule_patterns(path: Path | str, environ: Mapping[str, str]) -> tuple[RulePattern, ...]:
    """The entries of `rules:` as far as they can be read, although other settings may be faulty."""
    try:
        document = _read_file(Path(path))
    except ConfigErrors:
        return ()
    apply_overrides(document, environ, shape_at)
    values = expand(document, environ)
    written = values.get("rules") if isinstance(values, dict) else None
    return tuple(
        RulePattern(_pattern_from(Path(path).parent, pattern), document.place_of(("rules", index)))
        for index, pattern in enumerate(written if isinstance(written, list) else ())
        if isinstance(pattern, str)
    )


def shape_at(location: Location) -> Shape:
    """What the settings expect at `location`; a text where they know nothing of it."""
    return _shape_of(_annotation_at(location))


def _annotation_at(location: Location) -> object:
    annotation: object = Config
    for step in location:
        annotation = _bare(annotation)
        arguments = get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = {name: field for key, field in annotation.model_fields.items() for name in (key, field.alias)}
            field = fields.get(str(step))
            annotation = None if field is None else field.annotation
        elif get_origin(annotation) is tuple:
            annotation = arguments[0]
        elif arguments:
            annotation = arguments[1]
        else:
            return None
    return _bare(annotation)


def _bare(annotation: object) -> object:
    """The annotation without `Annotated[…]` and `| None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return _bare(next(item for item in get_args(annotation) if item is not type(None)))
    return annotation


def _shape_of(annotation: object) -> Shape:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(keys=tuple(_keys_of(annotation)))
    if get_origin(annotation) is tuple:
        return Shape(is_list=True)
    return Shape(open_keys=bool(get_args(annotation)))


def _keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
