"""The page *Where is my order?*: one order's journey over all services, found by its id or related data."""
