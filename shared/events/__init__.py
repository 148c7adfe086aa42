"""The contracts: what each service says when something happened, one module per producing service."""
