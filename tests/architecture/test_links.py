"""The documentation names only things that exist: files, folders, headings, make targets and decision records."""

import re
from pathlib import Path

import pytest

from tests.architecture.source import CHECKOUT

DECISIONS = CHECKOUT / "docs" / "decisions"
DOCUMENTS = sorted(
    [
        *CHECKOUT.glob("*.md"),
        CHECKOUT / "llms.txt",
        *(CHECKOUT / ".github").glob("*.md"),
        *(path for top in ("docs", "services", "deploy") for path in (CHECKOUT / top).rglob("*.md")),
    ]
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
# Paths that begin with a top folder. One with a placeholder in angle brackets does not match.
_PATH = re.compile(r"`((?:services|shared|deploy|tests|docs|\.github|\.ci)/[\w./*-]*)`")
_TARGET = re.compile(r"(?:^    |`)make ([a-z][a-z-]*)\b", flags=re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.+)$", flags=re.MULTILINE)

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))


@each_document
def test_every_link_leads_to_something(document: Path) -> None:
    text = _FENCED.sub("", document.read_text())
    local = [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]

    assert [link for link in local if not _exists(document, link)] == []


# A decision record describes the project on its date; files have moved since.
@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if path.parent != DECISIONS],
    ids=lambda path: str(path.relative_to(CHECKOUT)),
)
def test_every_path_in_the_text_exists(document: Path) -> None:
    paths = set(_PATH.findall(_FENCED.sub("", document.read_text())))

    assert [path for path in sorted(paths) if not any(CHECKOUT.glob(path.rstrip("/")))] == []


@each_document
def test_every_make_target_in_the_text_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE))

    assert set(_TARGET.findall(document.read_text())) - targets == set()


def test_every_decision_has_a_status_and_a_date_and_is_listed() -> None:
    listed = (DECISIONS / "README.md").read_text()
    wrong = []
    for number, record in enumerate(sorted(DECISIONS.glob("[0-9]*.md")), start=1):
        head = re.match(
            r"# (\d+)\. (.+)\n\n- Status: (proposed|accepted|superseded by \d{4})\n- Date: (\d{4}-\d\d-\d\d)\n\n",
            record.read_text(),
        )
        row = head and f"| {number:04} | [{head[2]}]({record.name}) | {head[3]} | {head[4]} |"
        if head is None or int(head[1]) != number or f"{row}\n" not in listed:
            wrong.append(record.name)
    assert wrong == []


def test_llms_txt_has_the_form_of_llmstxt_org() -> None:
    """A title, a summary as a quotation, then sections that hold nothing but links with a note."""
    head, *sections = re.split(r"^## ", (CHECKOUT / "llms.txt").read_text(), flags=re.MULTILINE)
    lines = [line for section in sections for line in section.splitlines()[1:] if line]

    assert re.match(r"# \S.*\n\n> \S", head)
    assert sections
    assert [line for line in lines if not re.fullmatch(r"- \[[^\]]+\]\([^)]+\): \S.*", line)] == []


def test_llms_txt_lists_every_page_of_the_documentation() -> None:
    listed = set(_LINK.findall((CHECKOUT / "llms.txt").read_text()))
    pages = {str(page.relative_to(CHECKOUT)) for page in (CHECKOUT / "docs").glob("*.md")}
    pages |= {str(page.relative_to(CHECKOUT)) for page in CHECKOUT.glob("services/*/README.md")}

    assert pages - listed == set()


def _exists(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in _anchors(target)


def _anchors(document: Path) -> set[str]:
    """Return the names that GitHub gives the headings: small letters, no punctuation, a hyphen for each space."""
    headings = _HEADING.findall(_FENCED.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
