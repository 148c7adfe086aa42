"""Text that people type: refused characters and links, and the patterns that say so in schemas."""
# ruff: noqa: RUF001 - names in other scripts

import re
import unicodedata
from collections.abc import Callable

import pytest
from pydantic_core import PydanticCustomError

from shared.text import (
    JOINERS,
    NAME_PATTERN,
    PERSON_NAME_PATTERN,
    TEXT_PATTERN,
    check_name,
    check_person_name,
    check_text,
    has_link,
    is_readable,
)

NAMES = [
    "Ada Lovelace",
    "Müller-Lüdenscheidt, Dr. 'Zoë' \"Z\" & Söhne <GmbH>",
    "نگار می\u200cخواهم",
    "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL} \N{HEAVY BLACK HEART}\ufe0f",
    "山田 太郎",
    "J.R.R. Tolkien",
    "c/o Ann",
    "St.John: the second",
    "wwwonder",
    "A note: https is a scheme",
]
UNREADABLE = [
    "Ada\x00",
    "Ada\nBcc: eve@example.org",
    "Ada\x7f",
    "Ada\u2028Bcc",
    "\u202egnp.exe",
    "Ada\u2066",
    "A\u200bda",
    "Ada\ufeff",
    "soft\u00adhyphen",
    "\ue000",
    "\U000e0041",
    "\U0010fffd",
    "\ud800",
]
LINKED = [
    "See www.evil.example",
    "WWW.evil.example",
    "https://evil.example",
    "Https:evil.example",
    "x://y",
    "mailto:eve@example.org",
    "ｗｗｗ．evil.example",
    "https：／／evil.example",
    "www。evil.example",
]
PEOPLE = [
    "J. R. R. Tolkien",
    "J.Smith",
    "J.R.Smith",
    "St. John",
    "Dr.Smith",
    "Prof.Dr.Müller",
    "É.Zola",
    "Dr. med. Özdemir",
    "M.Sc. Ada",
    "e.V.",
    "Müller & Co.",
    "Ada (the 2.)",
    "Louis XIV.",
    "山田.太",
]
DOMAINS = [
    "evil.com",
    "visit evil.com now",
    "Visit EVIL.COM",
    "(evil.com)",
    "evil.com.",
    "evil-shop.co.uk",
    "eve@evil.com",
    "7.com",
    "t.co",
    "T.Co/x",
    "A.B.com",
    "Dr.evil",
    "Dr.Smith.com",
    "evil.St.John",
    "пример.рф",
    "evil\u200d.com",
    "evil。com",
    "例え.テスト",
]
TEXTS = ["", "One line", "Two\nlines", "Two\r\nlines\tand a tab", "Links to https://orderly.example are fine."]


def accepts(check: Callable[[str], str], text: str) -> bool:
    try:
        return check(text) == text
    except PydanticCustomError:
        return False


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_script_is_accepted(name: str) -> None:
    assert accepts(check_name, name)
    assert re.search(NAME_PATTERN, name)


@pytest.mark.parametrize("name", [*PEOPLE, *(name for name in NAMES if ":" not in name)])
def test_initials_and_titles_of_people_are_accepted(name: str) -> None:
    assert accepts(check_person_name, name)
    assert re.search(PERSON_NAME_PATTERN, name)


@pytest.mark.parametrize("name", DOMAINS, ids=ascii)
def test_a_domain_is_no_name_of_a_person_but_of_a_thing(name: str) -> None:
    assert not accepts(check_person_name, name)
    assert not re.search(PERSON_NAME_PATTERN, name)
    assert accepts(check_name, name)


def test_a_domain_in_full_width_characters_is_refused_by_the_check_alone() -> None:
    assert not accepts(check_person_name, "ｅｖｉｌ．ｃｏｍ")


def test_a_long_name_is_checked_in_linear_time() -> None:
    assert accepts(check_person_name, "w" * 100_000 + " J.Smith" * 10_000)


@pytest.mark.parametrize("name", [*UNREADABLE, *LINKED, "", "  ", "\u200d \u200c"], ids=ascii)
def test_a_name_that_hides_or_links_something_is_refused(name: str) -> None:
    assert not accepts(check_name, name)


def test_the_pattern_refuses_what_the_check_refuses_apart_from_full_width_links() -> None:
    shown = [name for name in [*UNREADABLE[:-1], *LINKED, "", "\u200d"] if re.search(NAME_PATTERN, name)]
    assert shown == ["ｗｗｗ．evil.example", "https：／／evil.example"]


def test_a_text_may_have_lines_and_links() -> None:
    assert [text for text in TEXTS if not (accepts(check_text, text) and re.search(TEXT_PATTERN, text))] == []


@pytest.mark.parametrize("text", ["A\rB", "A\x0bB", *(text for text in UNREADABLE if "\n" not in text)], ids=ascii)
def test_a_text_with_a_misleading_character_is_refused(text: str) -> None:
    assert not accepts(check_text, text)
    assert text == "\ud800" or not re.search(TEXT_PATTERN, text)


def test_all_control_format_and_private_characters_are_refused() -> None:
    """Python's version of Unicode counts. Later ones add format characters within the refused blocks."""
    categories = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
    accepted = [
        char
        for char in map(chr, range(0x110000))
        if unicodedata.category(char) in categories and char not in JOINERS and is_readable(char)
    ]
    assert accepted == []


def test_no_character_that_is_written_is_refused() -> None:
    written = [
        char for char in map(chr, range(0x110000)) if unicodedata.category(char)[0] in "LMNPS" and not is_readable(char)
    ]
    # Egyptian format controls, with the signs that later versions of Unicode add to their block.
    assert [char for char in written if not "\U00013430" <= char <= "\U0001345f"] == []


def test_a_long_text_is_checked_in_linear_time() -> None:
    assert not has_link("w" * 1_000_000 + ":/" * 100_000)
