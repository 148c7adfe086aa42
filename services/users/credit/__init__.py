"""Credit: reservations of orders, limits, and operators' corrections."""
