"""Text that people type and others read: no invisible or misleading characters, and no links where a name belongs."""

import re
import unicodedata

from pydantic_core import PydanticCustomError

JOINERS = "\u200c\u200d"
"""Format characters that are allowed: Persian, Indic scripts and emoji need them."""

# Control, format and private characters (Unicode's categories Cc, Cf, Co), and separators of lines and paragraphs. The
# format characters have the bidirectional overrides among them. Characters above U+FFFF stand for themselves, because
# regular expressions of JavaScript and Python have no escape for them in common.
_REFUSED = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u206f\ue000-\uf8ff\ufeff\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    "\U000f0000-\U0010ffff"
)
_SCHEMES = "[hH][tT][tT][pP][sS]?|[fF][tT][pP]|[mM][aA][iI][lL][tT][oO]"
_LINK = rf"://|\b[wW][wW][wW][.\u3002]|\b(?:{_SCHEMES}):"

# Mail programs make a link of "evil.com" too. After an initial or a title the full stop is one of an abbreviation,
# unless a path follows, as in "T.Co/x".
_LETTER = r"A-Za-z\u00c0-\u1fff\u200c\u200d\u2c00-\u2fef\u3040-\ud7ff"
_LABEL = rf"{_LETTER}0-9-"
_ABBREVIATIONS = "Dr|Prof|St|Ste|Mr|Mrs|Ms|Mx|Fr|Rev|Sr|Sra|Jr|Mme|Mlle|Mag|Ing|Hr"
_ABBREVIATED = (
    rf"(?:[A-Z\u00c0-\u1fff\u2c00-\u2fef]|{_ABBREVIATIONS})\.[A-Z\u00c0-\u1fff][{_LETTER}]*(?![{_LETTER}/?#])"
)
_DOMAIN = rf"(?:^|[^{_LABEL}])(?!{_ABBREVIATED})[{_LABEL}]+[.\u3002][{_LETTER}]{{2}}"

NAME_PATTERN = rf"^(?!.*(?:{_LINK}))(?=.*[^\s{JOINERS}])[^{_REFUSED}]*$"
"""The names that `check_name` accepts, for a JSON schema. Full-width characters make a link too, which it lacks."""
PERSON_NAME_PATTERN = rf"^(?!.*(?:{_LINK}|{_DOMAIN}))(?=.*[^\s{JOINERS}])[^{_REFUSED}]*$"
"""The names that `check_person_name` accepts, for a JSON schema."""
TEXT_PATTERN = rf"^(?:[^{_REFUSED}]|[\t\n]|\r\n)*$"
"""The texts that `check_text` accepts, for a JSON schema."""
VISIBLE_TEXT_PATTERN = rf"^(?=[\s\S]*\S)(?:[^{_REFUSED}]|[\t\n]|\r\n)*$"
"""The texts of these that hold more than white space."""

_REFUSED_CHARACTER = re.compile(rf"[{_REFUSED}\ud800-\udfff]")
_LINE_ENDS_AND_TABS = re.compile(r"\r?\n|\t")
_HAS_LINK = re.compile(_LINK)
_HAS_DOMAIN = re.compile(_DOMAIN)
_INVISIBLE = re.compile(rf"[\s{JOINERS}]*")


def is_readable(text: str) -> bool:
    """Return whether one line of text has no control, format, private or surrogate characters, apart from joiners."""
    return _REFUSED_CHARACTER.search(text) is None


def has_link(text: str) -> bool:
    """Return whether a mail program could make a link of a part of the text, in full-width characters too."""
    return _HAS_LINK.search(unicodedata.normalize("NFKC", text)) is not None


def check_name(name: str) -> str:
    """Return a name if it is one readable line, visible, and has no link. Raises: PydanticCustomError."""
    if not is_readable(name):
        raise PydanticCustomError("text_unreadable", "Input should have no control, format or private characters")
    if has_link(name):
        raise PydanticCustomError("name_has_link", "Input should have no link, such as www. or https://")
    if _INVISIBLE.fullmatch(name):
        raise PydanticCustomError("name_invisible", "Input should have a visible character")
    return name


def check_person_name(name: str) -> str:
    """Return a name as `check_name` does, if it also has no domain, such as evil.com. Raises: PydanticCustomError.

    The names of things may have one: "Node.js mug".
    """
    check_name(name)
    if _HAS_DOMAIN.search(unicodedata.normalize("NFKC", name)):
        raise PydanticCustomError(
            "name_has_domain", "Input should have no domain, such as example.com; put a space after a full stop"
        )
    return name


def check_text(text: str) -> str:
    """Return a text if all its lines are readable; they end with LF or CRLF. Raises: PydanticCustomError."""
    if not is_readable(_LINE_ENDS_AND_TABS.sub("", text)):
        raise PydanticCustomError("text_unreadable", "Input should have no control, format or private characters")
    return text
