"""Pages of accounts: where the links of mails lead."""
