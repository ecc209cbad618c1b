"""From the instructions of a program to tasks: calls of native functions."""
