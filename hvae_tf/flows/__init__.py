"""Maps of samples with a log-determinant."""
