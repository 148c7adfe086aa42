"""The proof that a form sends: which of the fields is filled in tells which of the ways its user has chosen."""

from typing import Any

from pydantic import BaseModel, Json


class _Proof(BaseModel):
    passkey: Json[dict[str, Any]]


def proof_of(*, code: str, recovery_code: str, credential: str, password: str = "") -> dict[str, Any]:
    """Return the proof as the API takes it: a member, or none if nothing is filled in. Raises: ValidationError."""
    if credential:
        return {"passkey": _Proof.model_validate({"passkey": credential}).passkey}
    filled_in = {"code": code.replace(" ", ""), "recovery_code": recovery_code.strip(), "password": password}
    return {name: value for name, value in filled_in.items() if value}
