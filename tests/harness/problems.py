"""Reading error responses."""

import httpx2


def problem(response: httpx2.Response) -> tuple[int, str]:
    """Return status and code of an error response, after checking that it is a problem."""
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]
