"""The history of a campaign as one HTML file: faults, requests, events by key, and violations, on a time axis."""
