"""Place invoices as orders: those of one customer in their order, those of different customers concurrently."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from deploy.demo.accounts import Account
from deploy.demo.client import Client
from deploy.demo.invoices import Invoice, Line
from deploy.demo.request_log import PlacedOrder, RequestKind, RequestLog
from deploy.local.screen import Advance


class OrderPlacement:
    """Sends every invoice unchanged, even an invalid one, and records the answers in `log`."""

    def __init__(
        self,
        client: Client,
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
        run: str,
        log: RequestLog,
    ) -> None:
        """Take what the orders need.

        `accounts`: by customer. `stock_codes`: those in the catalogue. `run`: part of the Idempotency-Keys, so that
        two runs share none.
        """
        self._client = client
        self._admin = admin
        self._accounts = accounts
        self._stock_codes = stock_codes
        self._run = run
        self._log = log

    async def place_all(self, invoices: Sequence[Invoice], *, concurrency: int, advance: Advance) -> None:
        """Place all invoices. Raises: RequestFailed."""
        slots = asyncio.Semaphore(concurrency)

        async def place_in_order(invoices_of_one: Sequence[Invoice]) -> None:
            placed: list[PlacedOrder] = []
            for invoice in invoices_of_one:
                async with slots:
                    await self._send(invoice, placed)
                advance()

        async with asyncio.TaskGroup() as group:
            for invoices_of_one in _by_customer(invoices):
                group.create_task(place_in_order(invoices_of_one))

    async def _send(self, invoice: Invoice, placed: list[PlacedOrder]) -> None:
        """Place or cancel an order. `placed`: the customer's earlier orders that were not cancelled."""
        for line in {line.stock_code: line for line in invoice.lines if line.price_cents <= 0}.values():
            await self._create_product(line)
        earlier = _order_cancelled_by(invoice, placed)
        if earlier is None:
            await self._place(invoice, placed)
            return
        placed.remove(earlier)
        answer = await earlier.account.send(self._client, "POST", f"/v1/orders/{earlier.id}/cancel")
        # If the request was repeated, an earlier try may have cancelled the order.
        if answer.body.get("from") != "cancelled":
            self._log.record(RequestKind.CANCELLATION, answer, subject=f"invoice {invoice.number}")

    async def _place(self, invoice: Invoice, placed: list[PlacedOrder]) -> None:
        body = {"items": [{"sku": line.stock_code, "quantity": line.quantity} for line in invoice.lines]}
        kind = kind_of(invoice, stock_codes=self._stock_codes)
        key = f"{self._run}-{invoice.number}"
        account = self._accounts[invoice.customer] if invoice.customer else None
        sent_at = datetime.now(UTC)
        if account is None:
            answer = await self._client.send("POST", "/v1/orders", json=body, key=key)
        else:
            answer = await account.send(self._client, "POST", "/v1/orders", json=body, key=key)
        if self._log.record(kind, answer, subject=f"invoice {invoice.number}") and account is not None:
            order = PlacedOrder(
                id=answer.body["id"],
                account=account,
                stock_codes=frozenset(line.stock_code for line in invoice.lines),
                sent_at=sent_at,
            )
            placed.append(order)
            self._log.orders.append(order)

    async def _create_product(self, line: Line) -> None:
        """Try to create a product that costs nothing, which the API must not allow."""
        product = {
            "sku": line.stock_code,
            "name": line.description or line.stock_code,
            "price_cents": line.price_cents,
            "currency": "GBP",
            "stock": max(line.quantity, 0),
        }
        key = f"{self._run}-{line.invoice}-{line.stock_code}".replace(" ", "_")
        answer = await self._admin.send(self._client, "POST", "/v1/products", json=product, key=key)
        self._log.record(RequestKind.ZERO_PRICE, answer, subject=f"{line.stock_code} of invoice {line.invoice}")


def kind_of(invoice: Invoice, *, stock_codes: Collection[str]) -> RequestKind:
    """Classify an invoice that is placed as an order; the checks have the order in which the API makes them.

    `stock_codes`: those in the catalogue.
    """
    if invoice.customer is None:
        return RequestKind.NO_CUSTOMER
    if invoice.has_negative_quantity:
        return RequestKind.NEGATIVE_QUANTITY
    if any(line.stock_code not in stock_codes for line in invoice.lines):
        return RequestKind.UNKNOWN_STOCK_CODE
    return RequestKind.ORDER


def _by_customer(invoices: Sequence[Invoice]) -> list[list[Invoice]]:
    """Group invoices by customer; one without a customer is a group of its own."""
    groups: dict[str, list[Invoice]] = {}
    for invoice in invoices:
        groups.setdefault(invoice.customer or invoice.number, []).append(invoice)
    return list(groups.values())


def _order_cancelled_by(invoice: Invoice, placed: Sequence[PlacedOrder]) -> PlacedOrder | None:
    """Return the customer's latest order that has one of the cancellation's stock codes."""
    if not invoice.is_cancellation:
        return None
    returned = {line.stock_code for line in invoice.lines}
    return next((order for order in reversed(placed) if not returned.isdisjoint(order.stock_codes)), None)
