"""Grafana's boards as code: `python -m deploy.grafana` writes the JSON files that Grafana reads."""
