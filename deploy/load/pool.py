"""The pool of customers' accounts: made once per target, since sign-ups are limited, and kept in a file."""

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.accounts import LOW_CREDIT_EVERY, Account, SignInRefused, set_credit_limit, sign_up
from deploy.demo.client import Client
from deploy.local.process import LocalError
from deploy.local.screen import Screen

AMPLE_CREDIT_CENTS = 10**12
"""The credit limit of most accounts: no load reaches it."""
LOW_CREDIT_CENTS = 20_000
"""The credit limit of every tenth account, most of whose orders are rejected."""
CONCURRENCY = 4
"""Sign-ups and sign-ins at once: each one hashes a password."""


class NoAccounts(LocalError):
    """There is no pool of accounts, and nobody may make one."""


def pool_file(folder: Path, url: str) -> Path:
    """Return the path of the pool for the target at `url`."""
    return folder / f"accounts-{hashlib.sha256(url.encode()).hexdigest()[:12]}.json"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Provides signed-in accounts. `admin` makes missing ones; without it, the file has to have them."""

    client: Client
    file: Path
    admin: Account | None
    screen: Screen

    async def accounts(self, size: int) -> list[Account]:
        """Return `size` accounts, signed in; fewer if the file has fewer and nobody can make more. Raises: NoAccounts.

        Accounts of a system that was reset since are replaced.
        """
        known = self._read()[:size]
        if known and not await self._sign_in(known):
            self.screen.note("The target does not know the accounts of the pool any more, so there will be new ones.")
            known = []
        if len(known) < size and self.admin is not None:
            known += await self._make(size - len(known), admin=self.admin, number=len(known))
            self._write(known)
        if not known:
            raise NoAccounts(
                f"{self.file} has no accounts that can sign in. Name the admin's password, so that they can be made:"
                " --admin-password-file FILE"
            )
        return known

    def _read(self) -> list[Account]:
        if not self.file.exists():
            return []
        try:
            return [Account(each["email"], each["password"]) for each in json.loads(self.file.read_text())]
        except (ValueError, KeyError, TypeError) as error:
            raise LocalError(f"{self.file} is not a list of accounts with email and password: {error}") from error

    def _write(self, accounts: list[Account]) -> None:
        """Write the file for its owner only: it has passwords. Raises: LocalError."""
        unfinished = self.file.with_name(f"{self.file.name}.unfinished")
        content = json.dumps([{"email": each.email, "password": each.password} for each in accounts], indent=1)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(content)
            unfinished.replace(self.file)
        except OSError as error:
            raise LocalError(
                f"The accounts cannot be kept in {self.file}: {error.strerror}. Name another file"
                " (--accounts-file FILE)."
            ) from error

    async def _sign_in(self, accounts: list[Account]) -> bool:
        """Sign in all accounts, one after the other. Return False if the first one does not exist any more."""
        with self.screen.progress("Signing in customers", total=len(accounts)) as advance:
            for position, account in enumerate(accounts):
                try:
                    await account.sign_in(self.client)
                except SignInRefused:
                    if position:
                        raise
                    return False
                advance()
        return True

    async def _make(self, missing: int, *, admin: Account, number: int) -> list[Account]:
        run = f"load-{secrets.token_hex(4)}"
        customers = {str(number + position): "United Kingdom" for position in range(missing)}
        with self.screen.progress("Creating accounts for customers", total=missing) as advance:
            made = await sign_up(
                self.client,
                customers,
                admin=admin,
                run=run,
                low_credit_limit_cents=LOW_CREDIT_CENTS,
                concurrency=CONCURRENCY,
                advance=advance,
            )
        accounts = list(made.values())
        for position, account in enumerate(accounts, start=1):
            if position % LOW_CREDIT_EVERY:
                await set_credit_limit(self.client, account, limit_cents=AMPLE_CREDIT_CENTS, admin=admin)
        return accounts
