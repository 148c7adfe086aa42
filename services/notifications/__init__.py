"""The notifications service: telling people what happened."""
