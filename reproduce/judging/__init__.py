"""The judge's work: which models, how long the chains, block by block to records, and what the report shows of them."""
