"""A walk through the access matrix: a real request for every cell, with real accounts, tokens and objects."""
