"""The experiments of the paper: configurations over the library."""
