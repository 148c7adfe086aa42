"""Notices about the form that led to a page. The address only has a name: nobody can put words into a page."""

_NOTICES = {
    "signed-up": "We have sent you a mail. Follow its link to confirm your address, and sign in.",
    "signed-out": "You are signed out.",
    "signed-out-everywhere": "You are signed out on all devices.",
    "reset-mailed": "If there is an account with this address, a mail with a link is on its way.",
    "profile-saved": "Your profile is saved.",
    "verification-mailed": "A new mail with a link is on its way.",
    "email-mailed": "A mail is on its way to the new address. Your address stays as it is until you follow its link.",
    "email-verified": "Your e-mail address is confirmed.",
    "email-changed": "Your account has its new e-mail address.",
    "password-set": "Your password is set. Your other devices are signed out.",
    "password-removed": "Your password is removed. From now on, you sign in with passkeys.",
    "app-added": "Your authenticator app is added.",
    "app-removed": "Your authenticator app is removed.",
    "passkey-added": "Your passkey is added.",
    "passkey-renamed": "Your passkey is renamed.",
    "passkey-removed": "Your passkey is removed.",
    "export-requested": "The export is requested. A mail tells you when it is ready.",
    "session-ended": "That device is signed out.",
    "others-ended": "All other devices are signed out.",
}


def notice_of(name: str) -> str | None:
    """Return the notice with this name, if there is one."""
    return _NOTICES.get(name)
