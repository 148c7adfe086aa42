"""The language check finds what it is for, and leaves ordinary English and other projects' names alone."""

import subprocess
from pathlib import Path

import pytest

from tests.architecture.language.__main__ import findings_under, main
from tests.architecture.language.rules import check
from tests.architecture.language.vocabulary import load

VOCABULARY = load()


def rules_broken(source: str, *, path: str = "shared/messaging/sample.py") -> set[str]:
    """Check a sample; return the rules that it breaks."""
    return {finding.rule for finding in check(path, source, VOCABULARY)}


def make_repository(folder: Path) -> None:
    """Make a folder a repository with no commit."""
    subprocess.run(["git", "init", "--quiet", folder], check=True)  # noqa: S607


@pytest.mark.parametrize(
    "text",
    [
        "The event was parked.",
        "Each slice is one\ntransaction.",
        "A transient fault is retried.",
        "The reader commits its offsets.",
        "The relay hands it over.",
        "The time of its last turn.",
        "The longest pause between two tries.",
        "The job forgets old rows.",
        "`list_parked` lists them.",
        "The table parked_event.",
    ],
)
def test_a_word_of_the_old_vocabulary_is_found_in_prose(text: str) -> None:
    assert rules_broken(text, path="docs/sample.md") & {"word", "name"}
    assert rules_broken(f'"""Module.\n\n{text}"""\n') & {"word", "name"}


@pytest.mark.parametrize(
    "text",
    [
        "The event is a dead letter; its key is blocked.",
        "A REST API behind the gateway; the rest of it turns into a list.",
        "Services take turns, and pause on SIGSTOP.",
        "An outside subscriber reads the topic; FastStream's subscriber polls it.",
        "`services/orders/subscribers.py` calls a command.",
        "The chaos tests use fault injection.",
        "In the background, on common ground.",
        "Don't forget to commit.",
        "A connection is refused.",
        "A mail in the reader's language.",
        "That is never the event's fault.",
    ],
)
def test_ordinary_english_is_left_alone(text: str) -> None:
    assert rules_broken(text, path="docs/sample.md") == set()
    assert rules_broken(f"# {text}\n") == set()


@pytest.mark.parametrize(
    "source",
    [
        "class ParkedEvent: ...",
        "class HTTPRefusal: ...",
        "def apply_slice(): ...",
        "def apply(*, guarded): ...",
        "try: ...\nexcept OSError as fault: ...",
        "self._last_turn = 0",
        "import x as reader",
        'logger.info("event_parked")',
        'logger.info("event_retried", fault="x")',
        'router.get("/parked-events")',
        'sa.Table("parked_event", metadata)',
        'text("SELECT * FROM parked_event")',
        "match value:\n    case [verdict]: ...",
    ],
)
def test_a_word_of_the_old_vocabulary_is_found_in_a_name(source: str) -> None:
    assert "name" in rules_broken(source)


@pytest.mark.parametrize(
    "source",
    [
        "class DeadLetter: ...",
        "def apply_batch(): ...",
        "def background(breakfast, restart, sparked): ...",
        "from services.orders import subscribers",
        "@event.listens_for(Session, 'before_commit')\ndef number_events(session): ...",
        'consumer.pause("orders")',
        "part = items[slice(2)]",
    ],
)
def test_other_names_are_left_alone(source: str) -> None:
    assert rules_broken(source) == set()


def test_a_files_own_name_is_checked_and_the_layouts_are_not() -> None:
    assert rules_broken("", path="shared/messaging/slices.py") == {"name"}
    assert rules_broken("", path="services/orders/subscribers.py") == set()


def test_an_allowed_name_is_allowed_in_its_files_only() -> None:
    source = "reader, writer = await open_connection()\n"
    assert rules_broken(source, path="deploy/local/answers.py") == set()
    assert rules_broken(source, path="shared/messaging/consumer.py") == {"name"}


def test_a_tests_name_is_read_as_a_sentence() -> None:
    assert rules_broken("def test_a_parked_event_stays(): ...", path="tests/sample.py") == {"word"}
    assert rules_broken("def test_a_key_behind_a_dead_letter_waits(): ...", path="tests/sample.py") == set()


def test_names_in_a_migration_are_not_judged() -> None:
    path = "services/orders/migrations/0001_parked_events.py"
    assert rules_broken('op.create_table("parked_event")', path=path) == set()


@pytest.mark.parametrize("opening", ["Of all shards.", "The rows.", "What was sent.", "Whether it is.", "Returns it."])
def test_a_functions_docstring_begins_with_a_verb(opening: str) -> None:
    assert rules_broken(f'def shards():\n    """{opening}"""\n') == {"verb"}
    assert rules_broken(f'class C:\n    async def shards(self):\n        """{opening}"""\n') == {"verb"}


@pytest.mark.parametrize("opening", ["Return whether it is.", "Send the rows.", "Raises: OutOfStock: none is left."])
def test_a_verb_in_the_imperative_begins_a_docstring(opening: str) -> None:
    assert rules_broken(f'def shards():\n    """{opening}"""\n') == set()


@pytest.mark.parametrize("returns", ["bool", "bool | None"])
def test_a_property_that_is_a_bool_returns_whether_something_holds(returns: str) -> None:
    source = f'class C:\n    @property\n    def is_old(self) -> {returns}:\n        """{{}} it is old."""\n'
    assert rules_broken(source.format("Whether")) == {"verb"}
    assert rules_broken(source.format("Return whether")) == set()


def test_a_property_or_fixture_is_described_by_a_noun() -> None:
    assert rules_broken('class C:\n    @property\n    def age(self):\n        """The age in days."""\n') == set()
    assert rules_broken('@pytest.fixture(scope="session")\ndef shop():\n    """A shop with products."""\n') == set()


@pytest.mark.parametrize(
    "source",
    [
        '"""How an order is placed."""',
        'class Order:\n    """What was ordered."""',
        'LIMIT = 5\n"""Of Debian 12."""',
        'Query(description="When they were sent.")',
        'Option(help=f"Of {SECONDS} at most.")',
    ],
)
def test_no_description_begins_with_a_preposition_or_a_pronoun(source: str) -> None:
    assert rules_broken(source) == {"opener"}


@pytest.mark.parametrize(
    "source",
    [
        '"""Placing of orders."""',
        'class TooLate(Problem):\n    """The order was shipped."""',
        'LIMIT = 5\n"""At most so many."""',
        'Query(description="Events sent at or after this time.")',
    ],
)
def test_a_description_begins_with_its_noun(source: str) -> None:
    assert rules_broken(source) == set()


@pytest.mark.parametrize("name", ["MOST_EVENTS", "_LONGEST_KEY", "FIRST_DELAY", "OLDEST_ROW"])
def test_a_limit_is_named_like_everybody_elses(name: str) -> None:
    assert rules_broken(f"{name} = 1") == {"constant"}
    assert rules_broken(f"{name.lower()} = 1\nMAX_KEY = 1\nFIRST_LINE_TIMEOUT_SECONDS = 1") == set()


@pytest.mark.parametrize("path", ["docs/sample.md", "deploy/compose.yaml", "Makefile"])
def test_a_line_has_120_characters_at_most(path: str) -> None:
    assert rules_broken("x" * 121, path=path) == {"line"}
    assert rules_broken("x" * 120, path=path) == set()


def test_link_targets_are_not_judged() -> None:
    assert rules_broken("[the runbook](runbooks/parked-events.md)", path="docs/sample.md") == set()


def test_tables_and_link_targets_may_be_longer() -> None:
    assert rules_broken(f"| {'x' * 200} |\n[text]({'x' * 200})\nhttps://{'x' * 200}", path="docs/sample.md") == set()


def test_a_stray_backtick_hides_no_word() -> None:
    assert rules_broken("A ` alone.\n\nA slice.\n\nAnother ` alone.", path="docs/sample.md") == {"word"}
    assert rules_broken("```bash\nexample parked\n\nslice\n```", path="docs/sample.md") == {"name"}


def test_a_finding_names_its_line() -> None:
    (finding,) = check("shared/sample.py", '"""Sample.\n\nOne\nslice.\n"""\n', VOCABULARY)
    assert str(finding) == 'shared/sample.py:4: [word] say batch, not "slice"'


def test_the_command_checks_what_git_would_keep(tmp_path: Path) -> None:
    make_repository(tmp_path)
    (tmp_path / ".gitignore").write_text("ignored.md\n")
    for name in ("found.md", "ignored.md", "elsewhere.md"):
        (tmp_path / name).write_text("A slice.\n")
    (tmp_path / "image.png").write_bytes(b"\xff")

    found = findings_under(tmp_path, ["found.md", "ignored.md", "image.png"])

    assert [str(finding) for finding in found] == ['found.md:1: [word] say batch, not "slice"']


def test_the_command_fails_where_it_finds_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_repository(tmp_path)
    (tmp_path / "sample.md").write_text("A slice.\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit, match=r"1 finding\(s\): 1 word"):
        main(["."])
    main(["."], only=["line"])

    assert capsys.readouterr().out == 'sample.md:1: [word] say batch, not "slice"\n'
