"""Dependencies of routes of all subjects: the parts of the console that `create_app` has opened, and query fields."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BeforeValidator

from deploy.console.observation.observer import Observer
from deploy.console.services import Services
from deploy.console.settings import ConsoleSettings
from deploy.console.telemetry.store import TelemetryStore


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _settings(request: Request) -> ConsoleSettings:
    settings: ConsoleSettings = request.app.state.settings
    return settings


async def _observer(request: Request) -> Observer:
    observer: Observer = request.app.state.observer
    return observer


async def _telemetry(request: Request) -> TelemetryStore:
    telemetry: TelemetryStore = request.app.state.telemetry
    return telemetry


ServicesDep = Annotated[Services, Depends(_services)]
SettingsDep = Annotated[ConsoleSettings, Depends(_settings)]
ObserverDep = Annotated[Observer, Depends(_observer)]
TelemetryDep = Annotated[TelemetryStore, Depends(_telemetry)]

NonEmpty = BeforeValidator(lambda value: value or None)
"""Reads an empty query parameter as None: a form sends its empty fields, too."""
