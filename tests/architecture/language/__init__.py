"""The project's language, as far as a program can judge it: words, names, docstrings and the length of a line."""
