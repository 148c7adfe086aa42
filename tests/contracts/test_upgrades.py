"""Migrations, cached values and jobs change only so that two versions can run side by side (docs/upgrades.md)."""

from pathlib import Path

import pytest

from tests.chaos.upgrade.comparison import Migration
from tests.contracts import migration_rules, upgrades
from tests.contracts.upgrades import CachedValue, Shared, incompatibilities

HOW_TO_RELEASE = "a rewritten migration that nobody has run is stored by `python -m tests.contracts release`"
PRODUCT = "services.orders.schemas.CachedProduct"

ALLOWED = {
    "a nullable column": "ALTER TABLE product ADD COLUMN origin text;",
    "a column with a default": "ALTER TABLE product ADD COLUMN origin text NOT NULL DEFAULT '';",
    "a table with its index": "CREATE TABLE gift (id uuid PRIMARY KEY, note text); CREATE INDEX ix ON gift (note);",
    "an index that is built concurrently": "COMMIT;\nCREATE INDEX CONCURRENTLY ix ON product (name);\nBEGIN;",
    "a constraint for new rows": "ALTER TABLE product ADD CONSTRAINT named CHECK (name <> '') NOT VALID;",
}
CONTRACTING = {
    "ban-drop-column": "ALTER TABLE product DROP COLUMN name;",
    "ban-drop-table": "DROP TABLE product;",
    "ban-drop-constraint": "ALTER TABLE product DROP CONSTRAINT ck_product_price;",
    "adding-not-nullable-field": "ALTER TABLE product ALTER COLUMN name SET NOT NULL;",
    "ban-drop-default": "ALTER TABLE product ALTER COLUMN name DROP DEFAULT;",
}
FORBIDDEN = {
    "adding-required-field": "ALTER TABLE product ADD COLUMN origin text NOT NULL;",
    "renaming-column": "ALTER TABLE product RENAME COLUMN name TO title;",
    "renaming-table": "ALTER TABLE product RENAME TO article;",
    "changing-column-type": "ALTER TABLE product ALTER COLUMN stock TYPE bigint;",
    "require-concurrent-index-creation": "CREATE INDEX ix ON product (name);",
    "constraint-missing-not-valid": "ALTER TABLE product ADD CONSTRAINT named CHECK (name <> '');",
}


def migration(tmp_path: Path, sql: str, source: str = "") -> Migration:
    file = tmp_path / "0009_change.py"
    file.write_text(source)
    return Migration(revision="0009", file=str(file), sql=sql)


def rules_of(found: list[str]) -> list[str]:
    return [objection.split(": ")[1] for objection in found]


def shared(
    *, digest: str = "a", version: int = 1, form: str = "f", tasks: list[str] | None = None, enqueued: str = "operation"
) -> Shared:
    return Shared(
        migrations={"orders": {"0001": digest}},
        cached_values={PRODUCT: CachedValue(version=version, form=form)},
        tasks={"orders": tasks or ["operation"]},
        enqueued=[enqueued],
    )


def test_this_version_can_run_beside_the_last_release() -> None:
    assert incompatibilities(released=upgrades.read(), current=upgrades.current()) == [], HOW_TO_RELEASE


def test_new_migrations_can_run_while_the_last_release_works() -> None:
    released = upgrades.read().migrations
    new = [
        each
        for service, found in upgrades.current_migrations().items()
        for each in found
        if each.revision not in released.get(service, {})
    ]
    releases = migration_rules.releases()
    assert [objection for each in new for objection in migration_rules.objections(each, releases=releases)] == []


def test_the_code_is_read() -> None:
    """If a call is written in another form, nothing would be compared."""
    found = upgrades.current()

    assert PRODUCT in found.cached_values
    assert "operation" in found.enqueued
    assert all("operation" in tasks for tasks in found.tasks.values())
    assert {service: min(digests) for service, digests in found.migrations.items()} == dict.fromkeys(
        ("notifications", "orders", "users"), "0001"
    )


@pytest.mark.parametrize(
    ("current", "objection"),
    [
        (shared(digest="b"), "orders: the released migration 0001 was changed"),
        (shared(form="g"), f"{PRODUCT}: its form was changed, but its version is still 1"),
        (shared(tasks=["other"]), "orders: the job 'operation' is not run any more"),
        (
            shared(tasks=["operation", "remind"], enqueued="remind"),
            "The job 'remind' is enqueued, but the last release",
        ),
    ],
)
def test_an_incompatible_change_is_named(current: Shared, objection: str) -> None:
    (found,) = incompatibilities(released=shared(), current=current)
    assert found.startswith(objection)


@pytest.mark.parametrize(
    "current",
    [shared(form="g", version=2), shared(version=2), shared(tasks=["operation", "remind"])],
    ids=["another form of the next version", "another meaning of the next version", "a function for later jobs"],
)
def test_an_expansion_is_compatible(current: Shared) -> None:
    assert incompatibilities(released=shared(), current=current) == []


@pytest.mark.parametrize("sql", ALLOWED.values(), ids=ALLOWED.keys())
def test_a_migration_may_expand(sql: str, tmp_path: Path) -> None:
    assert migration_rules.objections(migration(tmp_path, sql), releases=[]) == []


@pytest.mark.parametrize(("rule", "sql"), [*CONTRACTING.items(), *FORBIDDEN.items()])
def test_a_migration_must_not_contract_or_lock(rule: str, sql: str, tmp_path: Path) -> None:
    assert rules_of(migration_rules.objections(migration(tmp_path, sql), releases=["1.2.0"])) == [rule]


@pytest.mark.parametrize(("rule", "sql"), [*CONTRACTING.items(), *FORBIDDEN.items()])
def test_what_no_release_uses_any_more_may_be_removed_but_not_by_a_long_lock(
    rule: str, sql: str, tmp_path: Path
) -> None:
    marked = migration(tmp_path, sql, 'unused_since = "1.2.0"\n')
    assert rules_of(migration_rules.objections(marked, releases=["1.2.0"])) == ([] if rule in CONTRACTING else [rule])


def test_a_mark_names_a_release(tmp_path: Path) -> None:
    marked = migration(tmp_path, CONTRACTING["ban-drop-column"], 'unused_since = "1.3.0"\n')
    assert migration_rules.objections(marked, releases=["1.2.0"]) == [
        f"{marked.file}: unused_since names 1.3.0, which is not released"
    ]
