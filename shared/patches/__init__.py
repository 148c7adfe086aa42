"""Code that depends on private parts of libraries. Each module names these parts and the library's version."""
