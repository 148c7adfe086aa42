"""The commands of an operator: what they print, and what they refuse."""

from pathlib import Path

import pytest

from tests.deploy.backup.archived_server import archived_server, run_cli, run_command


async def test_an_operator_backs_up_lists_verifies_and_restores() -> None:
    async with archived_server() as server:
        status, output = await run_cli(server, "backup", "--keep", "1")
        assert (status, output.split(" MiB, ")[1].startswith("verified, up to 0/")) == (0, True)
        before = await server.insert(1)
        await server.insert(2)
        [backup] = server.archive.incarnations()[0].backups()
        assert await run_cli(server, "verify") == (0, "shop: all base backups and their WAL are intact\n")
        status, output = await run_cli(server, "restore")
        assert (status, output.partition(" (pid")[0]) == (1, "The server of shop runs")
        await server.stop()

        status, output = await run_cli(server, "restore", "--to", before.isoformat(), "--services", "shop")

        assert status == 0, output
        assert f"shop: restored from base backup 0001/{backup.name}\n" in output
        assert "new incarnation    0002\n" in output
        assert "make audit" in output
        status, output = await run_cli(server, "list")
        assert [line.split()[0] for line in output.splitlines()][:3] == ["shop", "0001", backup.name]
        assert output.count("verified") == 2
        await server.start()
        assert await server.values() == [1]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--to", "noon"], "noon is no time. Write it as 2026-11-29T12:00:00Z."),
        (["--to", "2026-11-29T12:00:00"], "2026-11-29T12:00:00 has no time zone."),
        (["--to", "2126-11-29T12:00:00Z"], "2126-11-29T12:00:00Z is in the future."),
        (["--services", "shop,shoes"], "Unknown: shoes. The services are shop."),
    ],
)
async def test_a_restore_says_what_it_does_not_understand(arguments: list[str], answer: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    environment = {
        "BACKUP_ARCHIVE": str(tmp_path),
        "BACKUP_SERVERS": '{"shop": "127.0.0.1:1"}',
        "BACKUP_PASSWORD_FILE": str(tmp_path / "password"),
    }
    status, output = await run_command(environment, "restore", *arguments)
    assert (status, output.startswith(answer)) == (1, True), output
