"""Lower bounds and likelihood estimates, in nats."""
