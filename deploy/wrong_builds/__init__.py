"""Builds of the services that are deliberately wrong, beside the right one: a visitor sees what they lose."""
