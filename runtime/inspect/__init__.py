"""Text, numbers and pictures of a plan."""
