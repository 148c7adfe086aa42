"""Authentication: the methods of an account, the changes of them that are allowed, and step-up."""
