"""Rendering of notifications: title, text and HTML, in the recipient's language.

The text template of an event type holds the title in a block. MJML is compiled once, before Jinja fills in the values,
so that users' input never reaches the MJML parser and is escaped for HTML only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import mrml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, pass_context
from jinja2.runtime import Context
from pydantic import JsonValue

from shared.text import JOINERS

TEMPLATES = Path(__file__).parent / "templates"
LOCALES = ("en", "de")
"""Languages that have templates. The first one is used for all other locales."""

SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}


@dataclass(frozen=True)
class RenderedMail:
    """Subject, text and HTML of a mail."""

    subject: str
    text: str
    html: str


def render_title(event_type: str, *, locale: str, data: Mapping[str, JsonValue]) -> str:
    """Render the title: one line that says what happened, without personal data."""
    language = language_of(locale)
    template = _text_template(event_type, language)
    context = template.new_context({**data, "language": language})
    return one_line("".join(template.blocks["title"](context)))


def render_mail(
    event_type: str, *, locale: str, name: str, public_url: str, data: Mapping[str, JsonValue]
) -> RenderedMail:
    """Render a mail. Raises: jinja2.UndefinedError if the data lack a value that the template needs."""
    language = language_of(locale)
    subject = render_title(event_type, locale=locale, data=data)
    values = {**data, "language": language, "subject": subject, "name": one_line(name), "public_url": public_url}
    return RenderedMail(
        subject=subject,
        text=_text_template(event_type, language).render(values),
        html=_html_template(event_type, language).render(values),
    )


def language_of(locale: str) -> str:
    """Return the language of LOCALES for a locale such as de-AT."""
    language = locale.replace("_", "-").partition("-")[0].lower()
    return language if language in LOCALES else LOCALES[0]


def one_line(text: str) -> str:
    """Remove line breaks and control characters, which would end a mail header, and characters that reorder text."""
    return " ".join("".join(char if char.isprintable() or char in JOINERS else " " for char in text).split())


@pass_context
def money(context: Context, cents: int, currency: str) -> str:
    """Format an amount: £1,234.50 in English, 1.234,50 € in German."""
    sign = "-" if cents < 0 else ""
    amount = f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02}"
    symbol = SYMBOLS.get(currency)
    if context["language"] == "de":
        return f"{amount.translate(str.maketrans(',.', '.,'))}\N{NO-BREAK SPACE}{symbol or currency}"
    return f"{sign}{symbol}{amount.removeprefix('-')}" if symbol else f"{amount}\N{NO-BREAK SPACE}{currency}"


def moment(time: str) -> str:
    """Format a time in ISO 8601, in UTC: a mail may be read in any time zone."""
    return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@cache
def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,  # noqa: S701 - off for plain text only
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["money"] = money
    environment.filters["moment"] = moment
    return environment


@cache
def _text_template(event_type: str, language: str) -> Template:
    return _environment(autoescape=False).get_template(f"{language}/{_file_stem(event_type)}.txt.j2")


@cache
def _html_template(event_type: str, language: str) -> Template:
    folder = TEMPLATES / language
    mjml = (folder / f"{_file_stem(event_type)}.mjml.j2").read_text()
    frame = {
        "head.mjml": (TEMPLATES / "frame" / "head.mjml").read_text(),
        **{name: (folder / name).read_text() for name in ("footer.mjml", "address_footer.mjml")},
    }
    options = mrml.ParserOptions(include_loader=mrml.memory_loader(frame))
    return _environment(autoescape=True).from_string(mrml.to_html(mjml, options).content)


def _file_stem(event_type: str) -> str:
    return event_type.replace(".", "_")
