"""The old version is the newest release before this commit; what a clone lacks is said with what to do."""

import subprocess
from pathlib import Path

import pytest

from tests.chaos.upgrade.versions import VersionUnavailable, commit_of, extract, is_modified, previous_ref


def git(checkout: Path, *arguments: str) -> str:
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", checkout, *author, *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def commit(checkout: Path, text: str, *, tag: str | None = None) -> str:
    (checkout / "file.txt").write_text(text)
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", text)
    if tag is not None:
        git(checkout, "tag", tag)
    return git(checkout, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (tmp_path / "previous-version").write_text("# A remark\nabc1234\n")
    return folder


def previous(checkout: Path) -> str:
    return previous_ref(checkout, previous_version=checkout.parent / "previous-version")


def test_without_a_release_the_file_names_the_previous_version(checkout: Path) -> None:
    commit(checkout, "first")
    assert previous(checkout) == "abc1234"
    git(checkout, "tag", "v0.1.0")
    assert previous(checkout) == "abc1234", "the release that is being made is not its own previous version"


def test_the_previous_version_is_the_newest_release_before_this_commit(checkout: Path) -> None:
    for number in ("v0.9.0", "v0.10.0"):
        commit(checkout, number, tag=number)
    commit(checkout, "not a release", tag="nightly")
    assert previous(checkout) == "v0.10.0"
    commit(checkout, "next", tag="v0.11.0")
    assert previous(checkout) == "v0.10.0"
    git(checkout, "checkout", "--quiet", "v0.10.0")
    assert previous(checkout) == "v0.9.0"


def test_a_ref_that_a_shallow_clone_lacks_says_how_to_get_it(checkout: Path) -> None:
    first = commit(checkout, "first")
    commit(checkout, "second")
    shallow = checkout.parent / "shallow"
    git(checkout.parent, "clone", "--quiet", "--depth=1", checkout.as_uri(), str(shallow))

    assert commit_of(first, checkout) == first
    with pytest.raises(VersionUnavailable, match="git fetch --unshallow --tags"):
        commit_of(first, shallow)


def test_outside_of_a_clone_the_error_is_that_of_git(tmp_path: Path) -> None:
    with pytest.raises(VersionUnavailable, match="not a git repository"):
        previous_ref(tmp_path)


def test_a_commit_is_extracted_without_later_changes(checkout: Path) -> None:
    first = commit(checkout, "first")
    commit(checkout, "second")
    assert not is_modified(checkout)
    (checkout / "other.txt").write_text("not committed")

    extract(first, checkout.parent / "old", checkout)

    assert is_modified(checkout)
    assert {path.name: path.read_text() for path in (checkout.parent / "old").iterdir()} == {"file.txt": "first"}
