"""Administration: staff find accounts; admins suspend them, set their roles, and create verified ones."""
