"""Table 1 of the paper, section 4.2: what its runs are, how they are judged, drawn and reported."""
