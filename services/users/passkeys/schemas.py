"""Request and response bodies of passkeys."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from shared.http.bodies import RequestBody, ResponseBody

_TIME = "2026-11-23T17:30:00Z"
_ID = "0199a6e3-55b1-7d0e-9c2a-6d0f3b1e8a44"
_CREDENTIAL_ID = "W7WD6T8xRNm4cS5Xc0bVtQ"
_CLIENT_DATA = "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiLi4uIiwib3JpZ2luIjoiaHR0cDovL2xvY2FsaG9zdDo4MDgwIn0"
_BASE64URL = "^[A-Za-z0-9_-]+$"

PasskeyName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(description="The user's own name for the device.", examples=["Ada's phone"]),
]
CredentialId = Annotated[str, Field(max_length=1364, pattern=_BASE64URL, examples=[_CREDENTIAL_ID])]
ClientData = Annotated[str, Field(max_length=8_192, pattern=_BASE64URL, examples=[_CLIENT_DATA])]


class _BrowsersObject(RequestBody):
    """An object that a browser makes. Unknown members are ignored: browsers add some before this service knows them."""

    model_config = ConfigDict(extra="ignore")


class AttestationResponse(_BrowsersObject):
    """The `response` of a new credential."""

    client_data_json: Annotated[ClientData, Field(alias="clientDataJSON")]
    attestation_object: Annotated[
        str,
        Field(alias="attestationObject", max_length=65_536, pattern=_BASE64URL, examples=["o2NmbXRkbm9uZWdhdHRTdG10"]),
    ]
    transports: Annotated[
        list[Annotated[str, Field(max_length=32)]],
        Field(max_length=16, default_factory=list, examples=[["internal", "hybrid"]]),
    ]


class RegistrationCredential(_BrowsersObject):
    """`toJSON()` of what `navigator.credentials.create()` returned."""

    id: CredentialId
    raw_id: Annotated[CredentialId, Field(alias="rawId")]
    type: Literal["public-key"]
    response: AttestationResponse

    def json_object(self) -> dict[str, Any]:
        """Return the credential with the names of WebAuthn."""
        return self.model_dump(by_alias=True)


class AssertionResponse(_BrowsersObject):
    """The `response` of an assertion."""

    client_data_json: Annotated[ClientData, Field(alias="clientDataJSON")]
    authenticator_data: Annotated[
        str,
        Field(
            alias="authenticatorData",
            max_length=8_192,
            pattern=_BASE64URL,
            examples=["SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MFAAAAAQ"],
        ),
    ]
    signature: Annotated[str, Field(max_length=2_048, pattern=_BASE64URL, examples=["MEUCIQDh4n0x"])]
    user_handle: Annotated[
        str | None, Field(alias="userHandle", max_length=128, pattern=_BASE64URL, examples=["kR7mG3v0"])
    ] = None


class AssertionCredential(_BrowsersObject):
    """`toJSON()` of what `navigator.credentials.get()` returned."""

    id: CredentialId
    raw_id: Annotated[CredentialId, Field(alias="rawId")]
    type: Literal["public-key"]
    response: AssertionResponse

    def json_object(self) -> dict[str, Any]:
        """Return the credential with the names of WebAuthn."""
        return self.model_dump(by_alias=True)


class NewPasskey(RequestBody):
    """A passkey to register."""

    name: PasskeyName
    credential: RegistrationCredential


class PasskeyChanges(RequestBody):
    """A new name of a passkey."""

    name: PasskeyName


class PasskeySignIn(RequestBody):
    """A passkey to sign in with."""

    credential: AssertionCredential


class CreationOptionsView(ResponseBody):
    """The options to register a passkey; they are valid for five minutes."""

    public_key: Annotated[
        dict[str, Any],
        Field(
            description="The argument of `PublicKeyCredential.parseCreationOptionsFromJSON()`, whose result goes to "
            "`navigator.credentials.create()`.",
            examples=[
                {
                    "rp": {"name": "Orderly", "id": "orderly.example"},
                    "user": {"id": "kR7mG3v0", "name": "ada@orderly.example", "displayName": "Ada Lovelace"},
                    "challenge": "hK1TtN2c0nI",
                    "pubKeyCredParams": [{"type": "public-key", "alg": -8}],
                    "timeout": 300_000,
                    "excludeCredentials": [],
                    "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
                    "attestation": "none",
                }
            ],
        ),
    ]


class RequestOptionsView(ResponseBody):
    """The options to authenticate with a passkey; they are valid for five minutes."""

    public_key: Annotated[
        dict[str, Any],
        Field(
            description="The argument of `PublicKeyCredential.parseRequestOptionsFromJSON()`, whose result goes to "
            "`navigator.credentials.get()`.",
            examples=[
                {
                    "challenge": "hK1TtN2c0nI",
                    "timeout": 300_000,
                    "rpId": "orderly.example",
                    "allowCredentials": [],
                    "userVerification": "required",
                }
            ],
        ),
    ]


class PasskeyView(ResponseBody):
    """A passkey."""

    id: Annotated[UUID, Field(examples=[_ID])]
    name: Annotated[str, Field(examples=["Ada's phone"])]
    transports: Annotated[
        list[str],
        Field(description="The ways in which browsers reach the authenticator.", examples=[["internal", "hybrid"]]),
    ]
    authenticator_id: Annotated[
        UUID,
        Field(
            description="The model of the authenticator (AAGUID); zeros if it did not tell.",
            examples=["ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4"],
        ),
    ]
    backed_up: Annotated[
        bool, Field(description="Whether the passkey is also on other devices of its owner.", examples=[True])
    ]
    created_at: Annotated[datetime, Field(examples=[_TIME])]
    last_used_at: Annotated[datetime | None, Field(examples=[_TIME])]


class RegisteredPasskeyView(ResponseBody):
    """A new passkey, and new recovery codes if the account had none."""

    passkey: PasskeyView
    recovery_codes: Annotated[
        list[str] | None,
        Field(description="Shown only now. null: the codes that you have stay valid.", examples=[None]),
    ]
