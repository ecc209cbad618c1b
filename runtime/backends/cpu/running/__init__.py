"""Tables of tasks in memory, and the native code that walks them with threads."""
