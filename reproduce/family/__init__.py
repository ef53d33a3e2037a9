"""The family at equal numbers of gradient evaluations."""
