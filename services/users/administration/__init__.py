"""Routes with which admins create and change accounts."""
