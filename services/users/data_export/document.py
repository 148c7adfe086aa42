"""The document of a ready export, made while it is sent: one part at a time is open in memory."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import orjson

from services.users.data_export import queries
from services.users.data_export.schemas import ExportHeader
from services.users.models.data_export import EXPORTING_SERVICES
from shared.database import Sessions
from shared.events.exported_data import ExportedData
from shared.personal_data import unseal


class ExportVanished(Exception):
    """A part was deleted while the document was sent, because its user was erased."""


@dataclass(frozen=True)
class ReadyExport:
    """A ready export, and the key that opens its parts."""

    header: ExportHeader
    part_counts: Mapping[str, int]
    key: bytes


async def document_of(sessions: Sessions, export: ReadyExport) -> AsyncIterator[bytes]:
    """Yield the JSON document. Reads each part in a transaction of its own, so that a slow client holds none.

    Raises: ExportVanished, SealedDataInvalid. The response has begun then, so its connection breaks.
    """
    yield b'{"export":' + export.header.model_dump_json().encode()
    for service in EXPORTING_SERVICES:
        yield f',"{service}":'.encode()
        members = _Members()
        for part in range(1, export.part_counts[service] + 1):
            async with sessions() as session:
                sealed = await queries.sealed_part(session, export.header.id, service=service, part=part)
            if sealed is None:
                raise ExportVanished(str(export.header.id))
            yield b"".join(members.of(unseal(sealed, key=export.key, model=ExportedData)))
        yield members.end()
    yield b"}"


class _Members:
    """The members of one service's object, as JSON: those of its parts, with the lists that go on in another part."""

    def __init__(self) -> None:
        self._next = b"{"
        """What comes before the next member."""
        self._open_list: str | None = None
        self._has_items = False

    def of(self, part: ExportedData) -> Iterator[bytes]:
        """Yield the members of the next part."""
        for name, value in part.facts.items():
            yield from self._begin(name)
            yield orjson.dumps(value)
        for name, items in part.lists.items():
            if name != self._open_list:
                yield from self._begin(name)
                yield b"["
                self._open_list, self._has_items = name, False
            if items:
                yield b"," if self._has_items else b""
                yield orjson.dumps(items)[1:-1]
                self._has_items = True

    def end(self) -> bytes:
        """Return what ends the object."""
        if self._open_list is not None:
            return b"]}"
        return b"{}" if self._next == b"{" else b"}"

    def _begin(self, name: str) -> Iterator[bytes]:
        if self._open_list is not None:
            yield b"]"
            self._open_list = None
        yield self._next + orjson.dumps(name) + b":"
        self._next = b","
