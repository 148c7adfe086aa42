"""Tests of the notifications service through its topics, its jobs and its routes."""
