"""Metrics of credentials."""

from prometheus_client import Counter, Gauge, Histogram

SIGN_INS = Counter("sign_ins_total", "Attempts to sign in with a password: `right`, `wrong`, `delayed`", ["outcome"])
HASHING_WAITING = Gauge("password_hashing_waiting", "Requests that wait for a thread that hashes", ["use"])
HASHING_REFUSED = Counter("password_hashing_refused_total", "Requests refused because too many waited", ["use"])
HASHING_SECONDS = Histogram(
    "password_hashing_seconds",
    "Time to hash or verify one password, without waiting",
    buckets=(0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)
