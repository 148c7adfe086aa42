"""Pages of accounts: where people sign up and in, change their account, and where the links of mails lead."""
