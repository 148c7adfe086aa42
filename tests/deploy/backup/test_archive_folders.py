"""The folders of the archive."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from deploy.backup.archive import make_private_folder

SERVICES = 3
ROUNDS = 200


def test_services_that_make_the_same_folder_at_once_all_find_it(tmp_path: Path) -> None:
    """The backups of all services start together, and the folder above theirs is the same."""
    barrier = Barrier(SERVICES, timeout=30)

    def make_all() -> None:
        for number in range(ROUNDS):
            barrier.wait()
            make_private_folder(tmp_path / str(number))

    with ThreadPoolExecutor(SERVICES) as threads:
        for making in [threads.submit(make_all) for _ in range(SERVICES)]:
            making.result()
    assert {folder.stat().st_mode & 0o777 for folder in tmp_path.iterdir()} == {0o700}
    assert len(list(tmp_path.iterdir())) == ROUNDS
