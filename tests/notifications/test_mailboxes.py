"""A recipient's name never adds a mailbox to a mail's To, as mail programs read it and as the catcher received it."""

from email import message_from_bytes, message_from_string, policy
from email.headerregistry import Address
from email.utils import getaddresses

import pytest

from services.notifications.mail import mail_channel, message_of
from services.notifications.rendering import one_line
from services.notifications.settings import address_of
from services.notifications.smtp import Smtp
from shared.text import JOINERS
from tests.harness.mail import MailCatcher
from tests.harness.personal_keys import StoredKeys
from tests.notifications.test_mail import attempt

EMAIL = "ann@example.org"
LONG = ", ".join(f"Ann {number} <eve{number}@example.org>" for number in range(12))
NAMES = [
    "Lee, Ann",
    LONG[:67],
    LONG,
    f'"{LONG}"',
    '"' * 150,
    "\\" * 99 + '"',
    'Ann" <eve@example.org>, "Bob',
    "Ann (a comment) <eve@example.org>;",
    "Friends: eve@example.org;",
    "Zoë, " * 30 + "<eve@example.org>",
    "=?utf-8?q?Ann=22=2C?= <eve@example.org>",
    "=?utf-8?q?Ann?=, " * 12,
    "漢字, <eve@example.org>, " * 8,
    "a" * 190 + ", eve@b",
    "Ann@example.org",
]


def raw_mail(name: str) -> bytes:
    return message_of(
        attempt(name=name),
        message_id="<1@orderly.example>",
        sender=address_of("Orderly <no-reply@orderly.example>"),
        recipient=Address(display_name=one_line(name), username="ann", domain="example.org"),
        public_url="http://shop.example",
    )


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_adds_no_mailbox(name: str) -> None:
    raw = raw_mail(name)

    by_new_policy = message_from_bytes(raw, policy=policy.default)
    by_old_policy = message_from_bytes(raw)
    # A relay may parse a mail and write it again, with Python's folding.
    written_again = message_from_bytes(by_new_policy.as_bytes(policy=policy.SMTP), policy=policy.default)

    assert [each.addr_spec for each in by_new_policy["To"].addresses] == [EMAIL]
    assert [address for _, address in getaddresses([str(by_old_policy["To"])])] == [EMAIL]
    assert [each.addr_spec for each in written_again["To"].addresses] == [EMAIL]
    assert by_new_policy.get_all("To", []) == [by_new_policy["To"]]


async def test_the_catcher_receives_each_mail_for_one_mailbox(smtp_catcher: MailCatcher, keys: StoredKeys) -> None:
    smtp = Smtp(smtp_catcher.smtp_url, local_hostname="orderly.example")
    send = mail_channel(
        smtp,
        keys=keys.personal_keys(),
        mail_from="Orderly <no-reply@orderly.example>",
        public_url="http://shop.example",
    )
    for name in NAMES:
        await send(attempt(name=name))
    await smtp.close()

    mails = await smtp_catcher.wait_for(count=len(NAMES))

    assert [mail["to"] for mail in mails] == [[EMAIL]] * len(NAMES)
    shown = [value for mail in mails for header, value in mail["headers"] if header == "To"]
    assert len(shown) == len(NAMES)
    for value in shown:
        parsed = message_from_string(f"To: {value}\n\n", policy=policy.default)["To"]
        assert [each.addr_spec for each in parsed.addresses] == [EMAIL], value


def test_joiners_stay_and_characters_that_reorder_a_line_are_removed() -> None:
    family = "\N{MAN}\u200d\N{GIRL}"
    assert one_line(f"{family} \u202eevil\u2028{JOINERS}x") == f"{family} evil {JOINERS}x"
