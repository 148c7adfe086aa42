"""The gateway's own errors, worded by a service: Traefik asks for their bodies here."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shared.errors import NotFound, Problem
from shared.http.auth import public
from shared.http.problems import problem_response

router = APIRouter(prefix="/problems", include_in_schema=False)


class ServiceUnreachable(Problem):
    """The service that answers this can't be reached at the moment."""

    status = 502
    code = "service_unreachable"


class ServiceTooSlow(Problem):
    """The service that answers this did not do so in time."""

    status = 504
    code = "service_too_slow"


_PROBLEMS: dict[int, type[Problem]] = {problem.status: problem for problem in (ServiceUnreachable, ServiceTooSlow)}


@router.get("/{status}", dependencies=[Depends(public)])
async def gateway_error(request: Request, status: int) -> Response:
    """Answered with 200: the gateway sends the body on under the status that it has itself."""
    if status not in _PROBLEMS:
        raise NotFound
    response = problem_response(_PROBLEMS[status](), scope=request.scope)
    response.status_code = 200
    return response
