"""What operators do with a service: parked events, the outbox, sending states again; as a tool and as admin routes."""
