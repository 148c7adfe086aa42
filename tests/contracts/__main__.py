"""`python -m tests.contracts`: bring the generated parts of docs/ up to date."""

import tempfile
from pathlib import Path

from tests.contracts.applications import applications
from tests.contracts.documents import generated, with_section

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for (path, name), content in generated(applications(Path(folder))).items():
            path.write_text(with_section(path.read_text(), name, content))
