"""Entries of the security record in words for their user."""

from services.users.models.security_record import SecurityEventKind
from services.users.security_record.schemas import OwnSecurityEventView

_KINDS: dict[SecurityEventKind, str] = {
    "account_created": "Account created",
    "account_suspended": "Account suspended",
    "account_reinstated": "Account reinstated",
    "roles_changed": "Roles changed",
    "credit_limit_changed": "Credit limit changed",
    "profile_changed": "Profile changed",
    "signed_in": "Signed in",
    "sign_in_failed": "Sign-in failed",
    "new_device": "First sign-in on a device",
    "session_revoked": "Signed out",
    "sessions_revoked": "Signed out on several devices",
    "refresh_token_reused": "Signed out, because a copy of the session was used",
    "email_verified": "E-mail address confirmed",
    "email_change_requested": "Change of the e-mail address requested",
    "email_changed": "E-mail address changed",
    "password_reset_requested": "New password requested",
    "password_reset": "Password set by a mailed link",
    "password_changed": "Password changed",
    "second_factor_added": "Authenticator app added",
    "second_factor_removed": "Authenticator app removed",
    "recovery_codes_generated": "New recovery codes made",
    "recovery_code_used": "Recovery code used",
    "passkey_added": "Passkey added",
    "passkey_removed": "Passkey removed",
    "erasure_requested": "Erasure requested",
    "data_exported": "Data exported",
}
_ACTORS = {"you": "you", "staff": "our staff", "system": "us", "anonymous": "somebody who was not signed in"}


def described(event: OwnSecurityEventView) -> tuple[str, str]:
    """Return what happened, and who did it."""
    text = _KINDS.get(event.kind, event.kind.replace("_", " ").capitalize())
    return text, _ACTORS[event.actor]
