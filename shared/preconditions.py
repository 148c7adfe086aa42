"""The versions of a resource that a change may be made to."""

from dataclasses import dataclass

from shared.errors import PreconditionFailed


@dataclass(frozen=True)
class Precondition:
    """The versions that a change accepts, as If-Match lists them. None: any version."""

    versions: frozenset[int] | None = None

    @classmethod
    def exactly(cls, version: int) -> "Precondition":
        """Return the precondition that only this version meets."""
        return cls(frozenset({version}))

    def check(self, version: int) -> None:
        """Check the present version. Raises: PreconditionFailed."""
        if self.versions is not None and version not in self.versions:
            raise PreconditionFailed


ANY_VERSION = Precondition()
