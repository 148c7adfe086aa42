"""The mail catcher as a process of the local system."""

import re
import sys
from pathlib import Path

from deploy.local.process import Program
from deploy.local.readiness import http_answers, smtp_answers


def mail_program(*, folder: Path, smtp_port: int, page_port: int) -> Program:
    """Describe the mail catcher's process, which keeps its mails in `folder`."""

    async def answers() -> bool:
        return await smtp_answers(smtp_port) and await http_answers(page_port, "/api/count")

    return Program(
        name="mail",
        command=[
            sys.executable,
            "-m",
            "deploy.local.mail_catcher",
            f"--folder={folder}",
            f"--smtp-port={smtp_port}",
            f"--http-port={page_port}",
        ],
        ready=answers,
        address=f"http://127.0.0.1:{page_port}",
        notes=f"the mails; SMTP on port {smtp_port}",
        echo=re.compile("WARNING|ERROR|CRITICAL"),
    )
