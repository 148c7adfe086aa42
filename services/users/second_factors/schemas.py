"""Request and response bodies of second factors and step-up."""

from typing import Annotated, Self, cast

from pydantic import ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from services.users.credentials.fields import Secret
from services.users.passkeys.schemas import AssertionCredential
from shared.http.bodies import RequestBody, ResponseBody

_CHALLENGE = "Vd2lWkq0m1b9oZf1t7cTj3yR8e5sXuGpHn4aLw6QxEo"
_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105 - an example
_RECOVERY_CODES = ["MZXW-6YTB-OI5D-GNBV", "GEZD-GNBV-GY3T-QOJQ"]

Code = Annotated[str, Field(pattern="^[0-9]{6}$", examples=["492039"])]
RecoveryCodeText = Annotated[Secret, Field(min_length=16, max_length=40, examples=[_RECOVERY_CODES[0]])]


class TotpConfirmation(RequestBody):
    """A code that the authenticator app shows."""

    code: Code


class TotpView(ResponseBody):
    """The secret of a new authenticator app, shown only now."""

    secret: Annotated[str, Field(description="The secret in Base32, to be typed into the app.", examples=[_SECRET])]
    uri: Annotated[
        str,
        Field(
            description="The secret as a URI, to be shown as a QR code.",
            examples=[f"otpauth://totp/Orderly:ada%40orderly.example?secret={_SECRET}&issuer=Orderly"],
        ),
    ]


class RecoveryCodesView(ResponseBody):
    """New recovery codes, shown only now. Each replaces the second factor once."""

    recovery_codes: Annotated[list[str], Field(examples=[_RECOVERY_CODES])]


class FirstRecoveryCodesView(ResponseBody):
    """New recovery codes, if the account had none."""

    recovery_codes: Annotated[
        list[str] | None,
        Field(description="Shown only now. null: the codes that you have stay valid.", examples=[_RECOVERY_CODES]),
    ]


class MethodsView(ResponseBody):
    """The methods by which an account can authenticate."""

    password: Annotated[bool, Field(examples=[True])]
    totp: Annotated[bool, Field(description="Whether there is an authenticator app.", examples=[True])]
    passkeys: Annotated[int, Field(description="The number of passkeys.", examples=[2])]
    recovery_codes: Annotated[int, Field(description="The number of unused recovery codes.", examples=[9])]


class _OneProof(RequestBody):
    """A body with one of several proofs. The schema says so by the number of its members."""

    # The defaults are never used, because only members that were sent are read. So null is an error.
    code: Code = Field(default_factory=str, description="A code of the authenticator app.")
    recovery_code: RecoveryCodeText = Field(default_factory=lambda: SecretStr(""))
    passkey: AssertionCredential = Field(
        default_factory=lambda: cast("AssertionCredential", None),
        description="The answer to `POST /v1/sessions/passkey/options`.",
    )

    @model_validator(mode="after")
    def _check_one_proof(self) -> Self:
        if len(self.proofs) != 1:
            raise PydanticCustomError("one_proof", "Input should have exactly one proof")
        return self

    @property
    def proofs(self) -> set[str]:
        """The names of the proofs that were sent."""
        return set(self.model_fields_set)


class SecondFactor(_OneProof):
    """The second step of a sign-in: its challenge, and exactly one of `code`, `recovery_code` and `passkey`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2, "maxProperties": 2})

    challenge: Annotated[
        Secret,
        Field(min_length=1, max_length=100, description="The `challenge` of the sign-in's 401.", examples=[_CHALLENGE]),
    ]

    @property
    def proofs(self) -> set[str]:
        """The names of the proofs that were sent."""
        return self.model_fields_set - {"challenge"}


class StepUp(_OneProof):
    """Exactly one of `password`, `code`, `recovery_code` and `passkey`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    password: Annotated[Secret, Field(min_length=1, max_length=128, examples=["correct horse battery staple"])] = Field(
        default_factory=lambda: SecretStr(""), description="Only for an account without a second factor."
    )
