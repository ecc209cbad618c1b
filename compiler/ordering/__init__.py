"""In which order instructions run: what each needs, and what frees memory soonest."""
