"""Keras models: wiring only, no mathematics."""
