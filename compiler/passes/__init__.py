"""The passes: one function from graph to graph per file."""
