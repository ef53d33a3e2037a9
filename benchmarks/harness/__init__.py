"""What the benchmarks have in common; imports no framework, so that the calling process stays without threads."""
