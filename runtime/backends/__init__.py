"""What executes instructions: one module or folder per backend, none of which imports another."""
