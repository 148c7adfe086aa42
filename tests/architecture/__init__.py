"""Rules for the whole repository, checked on its source, its imports and its deployment files."""
