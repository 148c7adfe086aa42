"""URLs of PostgreSQL and Valkey, as settings give them: checked, and completed by a password that stands elsewhere.

A PostgreSQL URL has libpq's form. asyncpg reads it as it is, and `shared.database` lets asyncpg open SQLAlchemy's
connections too: SQLAlchemy itself would pass `sslmode` on as an argument, which asyncpg does not have.
"""

import os
from collections.abc import Collection
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DATABASE_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_DATABASE_PARAMETERS = (
    "host",
    "port",
    "sslmode",
    *_DATABASE_FILES,
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
)
"""Other parameters would become settings of the session. Those are the services' own."""
_VALKEY_SCHEMES = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss", "unix": "unix"}
_VALKEY_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_VALKEY_PARAMETERS = ("db", *_VALKEY_FILES)


def dsn_of(database_url: str, *, password: str | None = None) -> str:
    """Return a database's URL in libpq's form, completed by the password. Raises: ValueError.

    The scheme may also be `postgresql+asyncpg`, SQLAlchemy's name of the driver.
    """
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise ValueError("must look like postgresql://user@host:port/database?sslmode=verify-full&sslrootcert=ca.pem")
    if "," in urlsplit(f"postgresql://{rest}").netloc.rpartition("@")[2]:
        raise ValueError("names several hosts: use ?host=a,b&port=5432,5432")
    dsn = with_password(f"postgresql://{rest}", password)
    parameters = _parameters_of(dsn, _DATABASE_PARAMETERS, hints={"ssl": "sslmode"})
    mode = parameters.get("sslmode", "prefer")
    if mode not in SSL_MODES:
        raise ValueError(f"has an unknown sslmode: use one of {', '.join(SSL_MODES)}")
    if mode.startswith("verify-") and not (parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")):
        raise ValueError(f"needs sslrootcert, the file of the CA, for sslmode={mode}")
    _check_files(parameters, _DATABASE_FILES)
    return dsn


def valkey_url_of(url: str, *, password: str | None = None) -> str:
    """Return Valkey's URL in the form that the client takes, completed by the password. Raises: ValueError."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _VALKEY_SCHEMES:
        raise ValueError("must look like redis://host:port/0, or rediss://host:port/0?ssl_ca_certs=ca.pem for TLS")
    completed = with_password(f"{_VALKEY_SCHEMES[scheme]}://{rest}", password)
    parameters = _parameters_of(completed, _VALKEY_PARAMETERS)
    if _VALKEY_SCHEMES[scheme] != "rediss" and parameters.keys() & set(_VALKEY_FILES):
        raise ValueError("names certificates without TLS: use rediss://")
    _check_files(parameters, _VALKEY_FILES)
    return completed


def with_password(url: str, password: str | None) -> str:
    """Return the URL with the password, if there is one. Raises: ValueError if the URL has a password already."""
    if not password:
        return url
    parts = urlsplit(url)
    if parts.password:
        raise ValueError("contains a password, although another setting has it too")
    user, _, host = parts.netloc.rpartition("@")
    authority = f"{user.removesuffix(':')}:{quote(password, safe='')}@{host}"
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{authority}{rest[len(parts.netloc) :]}"


def check_readable(path: str | Path) -> None:
    """Check that a file can be read. Raises: ValueError, which names the file and the cause."""
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"names the file {path}: {(error.strerror or 'cannot be read').lower()}") from None


def _parameters_of(url: str, known: Collection[str], *, hints: dict[str, str] | None = None) -> dict[str, str]:
    parameters = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    for name in parameters:
        if name not in known:
            better = f"use {hints[name]}" if hints and name in hints else f"known are {', '.join(known)}"
            raise ValueError(f"has the unknown parameter {name}: {better}")
    return parameters


def _check_files(parameters: dict[str, str], names: Collection[str]) -> None:
    for name in names:
        if name in parameters:
            check_readable(parameters[name])
