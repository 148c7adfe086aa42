"""A service's interface for operators, as commands and as admin routes: dead letters, outbox, republications."""
