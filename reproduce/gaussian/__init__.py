"""Figure 1 of the paper, section 4.1: problem, methods, training, optima, jobs, and the report made from records."""
