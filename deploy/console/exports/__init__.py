"""The page *Export*: everything of the last hour in one file, personal data masked, which another console opens."""
