"""The orders service: catalogue, stock, orders."""
