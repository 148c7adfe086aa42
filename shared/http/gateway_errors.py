"""Problem bodies for the gateway's own errors: Traefik fetches them from a service."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shared.errors import NotFound, Problem
from shared.http.auth import public
from shared.http.problems import problem_response

router = APIRouter(prefix="/problems", include_in_schema=False)


class ServiceUnreachable(Problem):
    """The service is unreachable."""

    status = 502
    code = "service_unreachable"


class ServiceTooSlow(Problem):
    """The service did not respond in time."""

    status = 504
    code = "service_too_slow"


_PROBLEMS: dict[int, type[Problem]] = {problem.status: problem for problem in (ServiceUnreachable, ServiceTooSlow)}


@router.get("/{status}", dependencies=[Depends(public)])
async def gateway_error(request: Request, status: int) -> Response:
    """Return the problem for a status of the gateway. The response is a 200: the gateway sets its own status."""
    if status not in _PROBLEMS:
        raise NotFound
    response = problem_response(_PROBLEMS[status](), scope=request.scope)
    response.status_code = 200
    return response
