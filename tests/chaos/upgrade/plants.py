"""Planted changes: copies of this checkout whose code is a next version, compatible or not.

An incompatible one shows that a campaign finds it; the compatible one, that a change by the rules passes.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.process import LocalError
from deploy.local.state import CHECKOUT
from tests.architecture.source import kept_files
from tests.chaos.upgrade import evidence
from tests.chaos.upgrade.versions import Version, install, this_version

ORDERS = Path("services", "orders")
EVENTS = Path("shared", "events")


DEADLINE_FIELD = '''\
    deadline: datetime
    """The order is cancelled if it is still pending at this time."""


class OrderConfirmed'''


class PlantFailed(LocalError):
    """The code has changed since the plant was written."""


@dataclass(frozen=True)
class Edit:
    """Replaces a text that occurs once in a file."""

    path: Path
    before: str
    after: str


@dataclass(frozen=True)
class NewMigration:
    """Adds a migration of the orders service after its last one."""

    operation: str
    slug: str


@dataclass(frozen=True)
class NewExample:
    """Changes the last golden example of an event: renames a member in it, or adds one in a new example."""

    event_type: str
    rename: tuple[str, str] | None = None
    add: tuple[str, object] | None = None


Change = Edit | NewMigration | NewExample


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A next version, and which findings of a campaign must be violated by it: none if it is compatible."""

    name: str
    changes: Sequence[Change]
    violates: frozenset[str] = frozenset()
    """Each of these must be violated while the versions run side by side."""


RENAMED_COLUMN = Plant(
    name="migration",
    changes=(
        NewMigration('op.alter_column("order_timeline", "amount_cents", new_column_name="refund_cents")', "rename"),
        Edit(
            ORDERS / "models.py",
            "    amount_cents: Mapped[int | None] = mapped_column(sa.BigInteger)\n",
            '    amount_cents: Mapped[int | None] = mapped_column("refund_cents", sa.BigInteger)\n',
        ),
    ),
    violates=frozenset({evidence.ANSWERS, evidence.LOGS}),
)
RENAMED_FIELD = Plant(
    name="event",
    changes=(
        Edit(
            EVENTS / "orders.py",
            DEADLINE_FIELD,
            DEADLINE_FIELD.replace("deadline", "expires_at"),
        ),
        Edit(
            ORDERS / "commands.py",
            "OrderCreated(**_fields(order), deadline=",
            "OrderCreated(**_fields(order), expires_at=",
        ),
        NewExample("order.created", rename=("deadline", "expires_at")),
    ),
    violates=frozenset({evidence.GOLDEN_EVENTS, evidence.JOURNEYS, evidence.LOGS}),
)
OTHER_UNIT = Plant(
    name="cache",
    changes=(
        Edit(
            ORDERS / "catalogue_routes.py",
            "            return CachedProduct.model_validate(await queries.product_by_sku(session, sku))\n",
            "            product = CachedProduct.model_validate(await queries.product_by_sku(session, sku))\n"
            "            # Tenths of a cent.\n"
            '            return product.model_copy(update={"price_cents": product.price_cents * 10})\n',
        ),
        Edit(
            ORDERS / "catalogue_routes.py",
            "    permit.check(FOR_SALE if product.active else NOT_FOR_SALE)\n    response",
            '    product = product.model_copy(update={"price_cents": product.price_cents // 10})\n'
            "    permit.check(FOR_SALE if product.active else NOT_FOR_SALE)\n    response",
        ),
    ),
    violates=frozenset({evidence.CACHED_VALUES}),
)
EXPANDED = Plant(
    name="compatible",
    changes=(
        NewMigration('op.add_column("customer_order", sa.Column("gift_note", sa.Text))', "gift_note"),
        Edit(
            ORDERS / "models.py",
            "    total_cents: Mapped[int] = mapped_column(sa.BigInteger)\n",
            "    total_cents: Mapped[int] = mapped_column(sa.BigInteger)\n    gift_note: Mapped[str | None]\n",
        ),
        Edit(
            EVENTS / "orders.py",
            DEADLINE_FIELD,
            DEADLINE_FIELD.replace(
                "\n\n\n", '\n    gift_note: str | None = None\n    """What the sender wrote."""\n\n\n'
            ),
        ),
        Edit(
            ORDERS / "commands.py",
            "OrderCreated(**_fields(order), deadline=order.deadline)",
            'OrderCreated(**_fields(order), deadline=order.deadline, gift_note="For you")',
        ),
        NewExample("order.created", add=("gift_note", "For you")),
        Edit(ORDERS / "schemas.py", "CACHED_PRODUCT_VERSION = 1\n", "CACHED_PRODUCT_VERSION = 2\n"),
        Edit(
            ORDERS / "schemas.py",
            'as the cache stores it: with the version, which is sent as the ETag."""\n\n    version: int\n',
            'as the cache stores it: with the version, which is sent as the ETag."""\n\n    version: int\n'
            "    is_new: bool = False\n",
        ),
    ),
)
PLANTS = {plant.name: plant for plant in (RENAMED_COLUMN, RENAMED_FIELD, OTHER_UNIT, EXPANDED)}


async def planted_version(plant: Plant, folder: Path) -> Version:
    """Copy this checkout, with its uncommitted changes, and make the plant's changes there.

    Raises: PlantFailed, VersionUnavailable.
    """
    for name in kept_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).exists():
            shutil.copy2(CHECKOUT / name, target)
    for change in plant.changes:
        make(change, folder)
    return replace(
        this_version(),
        is_modified=True,
        folder=folder,
        python=await install(folder, ref=f"the planted version {plant.name}"),
    )


def make(change: Change, checkout: Path) -> None:
    """Make one change. Raises: PlantFailed."""
    match change:
        case Edit():
            _edit(change, checkout / change.path)
        case NewMigration():
            _migrate(change, checkout / ORDERS / "migrations")
        case NewExample():
            _exemplify(change, checkout / EVENTS / "examples" / change.event_type)


def _edit(change: Edit, file: Path) -> None:
    text = file.read_text()
    if (count := text.count(change.before)) != 1:
        raise PlantFailed(f"{change.path} has this text {count} times, not once:\n{change.before}")
    file.write_text(text.replace(change.before, change.after))


def _migrate(change: NewMigration, folder: Path) -> None:
    last = max(int(path.name[:4]) for path in folder.glob("[0-9]*.py"))
    lines = [
        f'"""{change.slug}."""',
        "",
        "import sqlalchemy as sa",
        "from alembic import op",
        "",
        f'revision = "{last + 1:04}"',
        f'down_revision = "{last:04}"',
        "",
        "",
        "def upgrade() -> None:",
        f"    {change.operation}",
    ]
    (folder / f"{last + 1:04}_{change.slug}.py").write_text("\n".join(lines) + "\n")


def _exemplify(change: NewExample, folder: Path) -> None:
    number = max(int(path.stem) for path in folder.glob("*.json"))
    example = json.loads((folder / f"{number}.json").read_text())
    if change.rename is not None:
        before, after = change.rename
        example[after] = example.pop(before)
    if change.add is not None:
        name, value = change.add
        example[name] = value
        number += 1
    (folder / f"{number}.json").write_text(json.dumps(example))
