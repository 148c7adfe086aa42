"""Write the boards to deploy/grafana/dashboards."""

from pathlib import Path

from deploy.grafana.boards import BOARDS
from deploy.grafana.panels import board_json

FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write each board to its file."""
    for name, board in BOARDS.items():
        (FOLDER / f"{name}.json").write_text(board_json(name, board))


if __name__ == "__main__":
    main()
