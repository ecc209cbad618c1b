"""Learning-rate schedulers of this convention."""
