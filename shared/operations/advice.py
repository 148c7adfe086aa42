"""The action that helps if something is stuck: a sentence, a command, a route, and the page of a runbook."""

from pydantic import Field

from shared.http.bodies import ResponseBody

STUCK_ORDERS = "docs/runbooks/stuck-orders.md"
DEAD_LETTERS = "docs/runbooks/dead-letters.md"
MAIL = "docs/runbooks/mail.md"


class Advice(ResponseBody):
    """The action that helps, for people as a sentence and a command, and for programs as a route."""

    text: str = Field(
        description="The action, in a sentence.", examples=["Raise the customer's limit, then replay it."]
    )
    command: str | None = Field(
        description="The command that does it; null if there is none.",
        examples=["python -m services.orders dead-letters replay --id 17"],
    )
    route: str | None = Field(
        description="The request that does it, as method and path; null if there is none.",
        examples=["POST /v1/operations/orders/dead-letters/replays"],
    )
    runbook: str = Field(description="The page that explains it, a path of the repository.", examples=[STUCK_ORDERS])
