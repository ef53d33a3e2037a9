"""How a point moves: integrators, tempering, and how the steps are differentiated."""
