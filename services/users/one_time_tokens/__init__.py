"""One-time tokens: issue, redeem and purge them, and request the mails that carry them."""
