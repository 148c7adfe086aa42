"""`python -m tests.chaos.histories.mutated_orders MUTANT`: the orders service with a mutant, for whole systems."""

import sys

from services.orders.__main__ import cli
from tests.chaos.histories.mutants import MUTANTS


def main(mutant: str) -> None:
    """Serve until SIGTERM."""
    MUTANTS[mutant]()
    cli([])


if __name__ == "__main__":
    main(*sys.argv[1:])
