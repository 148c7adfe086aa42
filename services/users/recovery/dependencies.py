"""Dependencies of recovery: how links are mailed."""

from typing import Annotated

from fastapi import Depends

from services.users.dependencies import SettingsDep
from services.users.one_time_tokens.commands import TokenPolicy, token_policy


async def _token_policy(settings: SettingsDep) -> TokenPolicy:
    return token_policy(settings)


TokenPolicyDep = Annotated[TokenPolicy, Depends(_token_policy)]
