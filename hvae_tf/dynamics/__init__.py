"""How a point moves: integrators and tempering."""
