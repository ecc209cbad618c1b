"""The functions that append ops, each beside its gradient rule."""
