"""Journeys: all three services together."""
