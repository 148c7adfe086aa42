"""The commands of the console: each prints what a page shows, for people or with `--json` for programs."""
