"""Exports: masked, complete, and opened by another console; what is no export is refused and leaves nothing."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import httpx2

from deploy.console.exports.masking import MASK, masked
from tests.deploy.console.otlp import log_record, logs_of, span, spans_of, trace_id
from tests.deploy.console.running_console import Console, running_console


def test_personal_data_are_masked_and_ids_stay() -> None:
    document = {
        "email": "ada@example.com",
        "name": "Ada",
        "note": "Asked by ada@example.com from 203.0.113.7",
        "key": "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11",
        "device": None,
        "processes": [{"name": "orders", "address": "http://127.0.0.1:8002"}],
    }
    assert masked(document) == {
        "email": MASK,
        "name": MASK,
        "note": f"Asked by {MASK} from {MASK}",
        "key": "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11",
        "device": None,
        "processes": [{"name": "orders", "address": "http://127.0.0.1:8002"}],
    }


async def test_another_console_opens_what_one_has_exported(console: Console, tmp_path: Path) -> None:
    await console.export(
        "traces", spans_of("orders", span("POST /v1/orders"), span("INSERT", parent="POST /v1/orders"))
    )
    await console.export("logs", logs_of("orders", log_record("order_placed", trace="order", by="ada@example.com")))
    file = (await console.client.get("/api/v1/exports/file")).content
    (tmp_path / "other").mkdir()

    async with running_console(tmp_path / "other") as other:
        opened = await _open(other, file)
        assert (opened.status_code, list((tmp_path / "other" / "opened").iterdir()) != []) == (303, True)
        export = opened.headers["location"]
        document = await other.get(f"/api/v1{export}")
        trace = await other.page(f"{export}/traces/{trace_id('order').hex()}")
        logs = await other.page(f"{export}/logs")

        assert (document["manifest"]["spans"], document["manifest"]["logs"]) == (2, 1)
        assert document["documents"]["invariants"]["state"] == "unknown"
        assert "does not answer" in json.dumps(document["documents"]["stuck"]["unavailable"])
        assert ("POST /v1/orders" in trace, "INSERT" in trace, "order_placed" in trace) == (True, True, True)
        assert ("order_placed" in logs, "ada@example.com" in logs, MASK in logs) == (True, False, True)
        assert (await other.get("/api/v1/traces"))["items"] == []
        await other.client.post(f"{export}/close")
        assert (await other.client.get(export)).status_code == 404
        assert list((tmp_path / "other" / "opened").iterdir()) == []


async def test_what_is_no_export_is_refused_and_leaves_nothing(console: Console, tmp_path: Path) -> None:
    for file in (b"no archive", _archive(), _archive('{"version": 0}'), _archive('{"version": 1}')):
        assert (await _open(console, file)).status_code == 422, file
    assert not any((tmp_path / "opened").glob("*"))
    assert (await console.client.post("/exports/opened")).status_code == 422


def _archive(manifest: str | None = None) -> bytes:
    """Return a zip archive with a manifest only, or with nothing."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        if manifest is not None:
            archive.writestr("manifest.json", manifest)
    return file.getvalue()


async def _open(console: Console, file: bytes) -> httpx2.Response:
    return await console.client.post("/exports/opened", files={"file": ("export.zip", file)})
