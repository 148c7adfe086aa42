"""Exports: masked, complete, and opened by another console; what is no export is refused and leaves nothing."""

import json
import zipfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import httpx2

from deploy.console.exports.archive import ExportFile, Manifest
from deploy.console.exports.masking import MASK, masked
from deploy.console.metrics.queries import MAX_SAMPLES
from tests.deploy.console.otlp import log_record, logs_of, span, span_id, spans_of, trace_id
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


async def test_metrics_keep_their_names_and_are_exported_in_full(console: Console, tmp_path: Path) -> None:
    page = "".join(f'size{{table="{number}"}} 1\n' for number in range(MAX_SAMPLES + 1))
    console.app.state.observer.series["orders"].add(page, at=1.0)
    file = tmp_path / "export.zip"
    file.write_bytes((await console.client.get("/api/v1/exports/file")).content)
    metrics = ExportFile(file).documents()["metrics"]
    assert [sample["name"] for sample in metrics["items"]] == ["size"] * (MAX_SAMPLES + 1)
    assert metrics["is_cut"] is False


async def test_a_link_in_an_export_leads_to_the_trace_in_the_export(console: Console) -> None:
    relay = span("relay", trace="batch", links=[("order", "place order")])
    await console.export("traces", spans_of("orders", span("place order"), relay))
    export = (await _open(console, (await console.client.get("/api/v1/exports/file")).content)).headers["location"]
    page = await console.page(f"{export}/traces/{trace_id('batch').hex()}")
    assert page.count(f'href="{export}/traces/{trace_id("order").hex()}#span-{span_id("place order").hex()}"') == 2
    assert 'href="/traces/' not in page


async def test_what_is_no_export_is_refused_and_leaves_nothing(console: Console, tmp_path: Path) -> None:
    manifest = Manifest(made_at=datetime.now(UTC), spans=1, logs=0, documents=[]).model_dump_json()
    with_wrong_manifests = [_archive(), _archive("[]"), _archive('{"version": 0}'), _archive('{"version": 1}')]
    with_wrong_spans = [_archive(manifest), _archive(manifest, spans='[["no id"], []]')]
    for file in (b"no archive", *with_wrong_manifests, *with_wrong_spans):
        assert (await _open(console, file)).status_code == 422, file
    assert not any((tmp_path / "opened").glob("*"))
    assert (await console.client.post("/exports/opened")).status_code == 422


def _archive(manifest: str | None = None, *, spans: str | None = None) -> bytes:
    """Return a zip archive with the given files only."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("manifest.json", manifest), ("spans.jsonl", spans)):
            if content is not None:
                archive.writestr(name, content)
    return file.getvalue()


async def _open(console: Console, file: bytes) -> httpx2.Response:
    return await console.client.post("/exports/opened", files={"file": ("export.zip", file)})
