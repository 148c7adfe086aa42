"""The notifications service: notifications in the app and by e-mail."""
