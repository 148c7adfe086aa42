"""Commits that wait: whoever writes a row of a table cannot commit before a test lets it."""

LOCK = "SELECT pg_advisory_xact_lock(1)"
"""The statement of the transaction that holds the commits up until it ends."""


def commit_waits_for_lock(table: str) -> tuple[str, str]:
    """Return statements, for the table's owner, that make the commit of an insert into it wait until LOCK is free."""
    return (
        """
        CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END'
        """,
        f"""
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_lock()
        """,
    )
