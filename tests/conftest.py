"""Fixtures of all tests: the run's real servers, and a separate part of each server for every test."""

import logging
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, get_args

import httpx2
import pytest
import redis
import structlog

from shared.garbage_collector import tune_garbage_collector
from tests.harness import servers
from tests.harness.databases import DatabaseFactory, drop_templates
from tests.harness.mail import MailCatcher, running_mail_catcher

if TYPE_CHECKING:
    from playwright.async_api import Page


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=get_args(servers.How),
        default="local",
        help="Run PostgreSQL, Valkey and Kafka as local processes (the default) or as Docker containers.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    how = config.getoption("servers")
    servers.begin_run(how)
    if how == "containers":
        from tests.harness.containers import check_engine

        try:
            check_engine()
        except servers.ServerFailed as error:
            raise pytest.UsageError(f"--servers containers: {error}") from error


def pytest_sessionstart(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        reporter.write_line(f"Servers: {', '.join(servers.description(kind) for kind in servers.KINDS)}")


def pytest_collection_finish() -> None:
    """Tune the garbage collector as a service does: it took a quarter of the time of the tests that make applications.

    A million objects exist now that stay until the end.
    """
    tune_garbage_collector()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kind in servers.KINDS:
        if warning := servers.warning_of(kind):
            terminalreporter.write_line(f"WARNING: {warning}", yellow=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        drop_templates()
        servers.end_run()


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undo `configure_logging` after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error", "aiokafka"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def postgres_admin_url() -> str:
    """The superuser's URL for asyncpg. Most tests use `database_factory` instead."""
    return servers.url_of("postgres")


@pytest.fixture(scope="session")
def kafka_bootstrap_servers() -> str:
    """The address of the run's broker. Use it with `topic_prefix`, so that tests do not share topics or groups."""
    return servers.url_of("kafka")


@pytest.fixture
def topic_prefix() -> str:
    """The prefix of the names of a test's topics, groups and clients."""
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture
def valkey_url(worker_id: str) -> str:
    """The URL of an empty Valkey database that only this worker uses."""
    number = 0 if worker_id == "master" else int(worker_id.removeprefix("gw")) + 1
    url = f"{servers.url_of('valkey').rsplit('/', 1)[0]}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
async def database_factory(postgres_admin_url: str) -> AsyncIterator[DatabaseFactory]:
    """`await database_factory("users")`: the URL of a new database with the tables of a service.

    `await database_factory()` creates an empty one. All are dropped after the test.
    """
    factory = DatabaseFactory(postgres_admin_url)
    yield factory
    await factory.drop_all()


@pytest.fixture(scope="session")
def _mail_catcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailCatcher]:
    with running_mail_catcher(tmp_path_factory.mktemp("mails")) as catcher:
        yield catcher


@pytest.fixture
def smtp_catcher(_mail_catcher: MailCatcher) -> MailCatcher:
    """An empty mail catcher that only this worker uses: `smtp_url`, and `await smtp_catcher.wait_for(to=...)`."""
    httpx2.delete(f"{_mail_catcher.api_url}/api/messages").raise_for_status()
    return _mail_catcher


@pytest.fixture
async def page() -> AsyncIterator["Page"]:
    """An empty page of a new headless Chromium. `page.context` adds pages and cookies."""
    from tests.harness.browser import TIMEOUT_MILLISECONDS, running_browser  # few tests need it, and it takes 0.2 s

    async with running_browser() as browser:
        opened = await browser.new_page()
        opened.set_default_timeout(TIMEOUT_MILLISECONDS)
        yield opened


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """Configure plain logs: by default, structlog takes seconds to render the traceback of each error in a test."""
    structlog.configure(processors=[structlog.stdlib.add_log_level, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_shell() -> Iterator[None]:
    """Remove USERS_*, ORDERS_* and NOTIFICATIONS_* variables of the developer's shell."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.startswith(("USERS_", "ORDERS_", "NOTIFICATIONS_")):
            patch.delenv(name)
    yield
    patch.undo()
