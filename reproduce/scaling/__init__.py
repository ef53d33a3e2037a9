"""How long the published Table 1 would take on machines that are not here: a simulation from what was measured."""
