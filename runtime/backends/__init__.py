"""What executes the instructions of a plan."""
