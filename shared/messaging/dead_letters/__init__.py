"""Dead letters: events that cannot be applied and wait for an operator."""
