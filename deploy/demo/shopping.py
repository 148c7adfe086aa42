"""Invoices become orders: those of one customer one after the other, those of different customers side by side."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from deploy.demo.accounts import Account
from deploy.demo.client import Client
from deploy.demo.data import Invoice, Line
from deploy.demo.ledger import Ledger, PlacedOrder, Sent
from deploy.demo.progress import Advance


class Shopping:
    """Sends every invoice as it is; `ledger` tells what came back."""

    def __init__(
        self,
        client: Client,
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
        run: str,
        ledger: Ledger,
    ) -> None:
        """`stock_codes`: what is in the catalogue. `run` makes the Idempotency-Keys this run's own."""
        self._client = client
        self._admin = admin
        self._accounts = accounts
        self._stock_codes = stock_codes
        self._run = run
        self._ledger = ledger

    async def place_all(self, invoices: Sequence[Invoice], *, concurrency: int, advance: Advance) -> None:
        """Raises: Unanswered."""
        free = asyncio.Semaphore(concurrency)

        async def in_turn(invoices_of_one: Sequence[Invoice]) -> None:
            placed: list[PlacedOrder] = []
            for invoice in invoices_of_one:
                async with free:
                    await self._take(invoice, placed)
                advance()

        async with asyncio.TaskGroup() as group:
            for invoices_of_one in _by_customer(invoices):
                group.create_task(in_turn(invoices_of_one))

    async def _take(self, invoice: Invoice, placed: list[PlacedOrder]) -> None:
        """`placed`: the customer's orders so far that were not cancelled."""
        for line in {line.stock_code: line for line in invoice.lines if line.price_cents <= 0}.values():
            await self._offer(line)
        earlier = _order_cancelled_by(invoice, placed)
        if earlier is None:
            await self._place(invoice, placed)
            return
        placed.remove(earlier)
        answer = await earlier.account.send(self._client, "POST", f"/v1/orders/{earlier.id}/cancel")
        # Of a repeated request the first may have been carried out without an answer.
        if answer.body.get("from") != "cancelled":
            self._ledger.judge(Sent.CANCELLATION, answer, what=f"invoice {invoice.number}")

    async def _place(self, invoice: Invoice, placed: list[PlacedOrder]) -> None:
        body = {"items": [{"sku": line.stock_code, "quantity": line.quantity} for line in invoice.lines]}
        sent, key = self._meaning_of(invoice), f"{self._run}-{invoice.number}"
        account = self._accounts[invoice.customer] if invoice.customer else None
        sent_at = datetime.now(UTC)
        if account is None:
            answer = await self._client.send("POST", "/v1/orders", json=body, key=key)
        else:
            answer = await account.send(self._client, "POST", "/v1/orders", json=body, key=key)
        if self._ledger.judge(sent, answer, what=f"invoice {invoice.number}") and account is not None:
            order = PlacedOrder(
                id=answer.body["id"],
                account=account,
                stock_codes=frozenset(line.stock_code for line in invoice.lines),
                sent_at=sent_at,
            )
            placed.append(order)
            self._ledger.orders.append(order)

    async def _offer(self, line: Line) -> None:
        """Nobody may sell for nothing."""
        product = {
            "sku": line.stock_code,
            "name": line.description or line.stock_code,
            "price_cents": line.price_cents,
            "currency": "GBP",
            "stock": max(line.quantity, 0),
        }
        key = f"{self._run}-{line.invoice}-{line.stock_code}".replace(" ", "_")
        answer = await self._admin.send(self._client, "POST", "/v1/products", json=product, key=key)
        self._ledger.judge(Sent.ZERO_PRICE, answer, what=f"{line.stock_code} of invoice {line.invoice}")

    def _meaning_of(self, invoice: Invoice) -> Sent:
        """In the order in which the API looks at a request."""
        if invoice.customer is None:
            return Sent.NO_CUSTOMER
        if invoice.has_negative_quantity:
            return Sent.NEGATIVE_QUANTITY
        if any(line.stock_code not in self._stock_codes for line in invoice.lines):
            return Sent.UNKNOWN_CODE
        return Sent.ORDER


def _by_customer(invoices: Sequence[Invoice]) -> list[list[Invoice]]:
    """Those without customer stand each by itself."""
    groups: dict[str, list[Invoice]] = {}
    for invoice in invoices:
        groups.setdefault(invoice.customer or invoice.number, []).append(invoice)
    return list(groups.values())


def _order_cancelled_by(invoice: Invoice, placed: Sequence[PlacedOrder]) -> PlacedOrder | None:
    """The customer's latest order with a stock code that the cancellation names."""
    if not invoice.is_cancellation:
        return None
    returned = {line.stock_code for line in invoice.lines}
    return next((order for order in reversed(placed) if not returned.isdisjoint(order.stock_codes)), None)
