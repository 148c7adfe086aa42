"""The check of OpenAPI documents by Redocly CLI, which `make lint` runs, finds what it should."""

import json
from pathlib import Path

from tests.contracts.redocly.__main__ import findings

COMPLETE = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "1", "license": {"name": "MIT", "identifier": "MIT"}},
    "servers": [{"url": "/"}],
    "paths": {
        "/things": {
            "get": {
                "operationId": "read_things",
                "summary": "Read things",
                "security": [],
                "responses": {"200": {"description": "Things"}, "404": {"description": "None"}},
            }
        }
    },
}


def test_errors_and_warnings_are_found_and_a_complete_document_passes(tmp_path: Path) -> None:
    (tmp_path / "complete.json").write_text(json.dumps(COMPLETE))
    assert findings(tmp_path) == ""

    (tmp_path / "without-servers.json").write_text(json.dumps(COMPLETE | {"servers": []}))
    assert "no-empty-servers" in findings(tmp_path)

    (tmp_path / "without-servers.json").unlink()
    (tmp_path / "without-licence.json").write_text(json.dumps(COMPLETE | {"info": {"title": "Things", "version": "1"}}))
    assert "info-license" in findings(tmp_path)
