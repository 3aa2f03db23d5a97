"""permission_id.json: SmartSession.getPermissionId."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import permission_id_of
from tests.vectors.fields import read_hex
from tests.vectors.registry import Finding


def check_permission_ids(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        got = permission_id_of(
            Address(read_hex(vector["sessionValidator"])),
            read_hex(vector["sessionValidatorInitData"]),
            Hash32(read_hex(vector["salt"])),
        )
        yield vector["id"], got == read_hex(vector["permissionId"]), got.hex()


CHECKERS = {"permission-id/1": check_permission_ids}
