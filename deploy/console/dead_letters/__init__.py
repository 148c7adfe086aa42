"""The page *Dead letters*: events that could not be applied, and what helps: replay, discard, resend, republish."""
