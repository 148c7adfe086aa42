"""Dead letters: events that could not be applied, stored until they are replayed or discarded."""
