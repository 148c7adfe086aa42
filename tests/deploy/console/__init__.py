"""The console: what it receives, shows and does."""
