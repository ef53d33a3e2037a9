"""Every flow on every target whose evidence is known."""
