"""Optimizers: update rules that are appended to a graph."""
