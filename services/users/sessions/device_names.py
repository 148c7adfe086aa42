"""Names of devices for people, made of a User-Agent header: `Firefox on Linux`.

The list is short on purpose: a name helps people to recognise their own devices, and decides nothing.
"""

import re

UNKNOWN = "Unknown device"

# Ordered: most browsers name those that they imitate too, and the imitated ones come last.
_PROGRAMS = {
    "Edge": r"\bEdg(e|A|iOS)?/",
    "Opera": r"\b(OPR|Opera)/",
    "Samsung Internet": r"\bSamsungBrowser/",
    "Vivaldi": r"\bVivaldi/",
    "Firefox": r"\b(Firefox|FxiOS)/",
    "Chrome": r"\b(Chrome|CriOS|HeadlessChrome|Chromium)/",
    "Safari": r"\bVersion/[\d.]+ .*\bSafari/",
    "curl": r"^curl/",
    "Postman": r"^PostmanRuntime/",
    "Python": r"^(python-)?(httpx2?|requests|aiohttp|urllib)\b|^Python\b",
    "Java": r"\b(Java|okhttp)/",
    "Go": r"^Go-http-client/",
}
_SYSTEMS = {
    "iPhone": r"\biPhone\b",
    "iPad": r"\biPad\b",
    "Android": r"\bAndroid\b",
    "ChromeOS": r"\bCrOS\b",
    "Windows": r"\bWindows\b",
    "macOS": r"\bMac OS X\b|\bMacintosh\b",
    "Linux": r"\bLinux\b|\bX11\b",
}


def device_name(user_agent: str | None) -> str:
    """Return a name for the program and the system that a User-Agent names."""
    program, system = _first(_PROGRAMS, user_agent or ""), _first(_SYSTEMS, user_agent or "")
    if program and system:
        return f"{program} on {system}"
    return program or system or UNKNOWN


def _first(patterns: dict[str, str], text: str) -> str | None:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), None)
