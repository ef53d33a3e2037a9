"""Models that are trained by one protocol and judged by AIS: cells, runs, records, what they say."""
