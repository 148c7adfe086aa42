"""Dependencies of routes of exports."""

from typing import Annotated

from fastapi import Depends

from services.users.data_export.queries import ExportNotFound
from shared.http.auth import NOBODY, SIGNED_IN, Permit, by_owner
from shared.http.route_limits import RouteLimit

DOWNLOADS = RouteLimit("downloads", "10/minute")
"""A download reads and decrypts everything that the services have of a user."""
OWN_EXPORT = by_owner(own=SIGNED_IN, others=NOBODY, others_denial=ExportNotFound)
"""Only the user reads an export: staff have no access to it."""

OwnExportPermit = Annotated[Permit, Depends(OWN_EXPORT)]
