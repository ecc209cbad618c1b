# The public names of lazyflow, one a line; lazyflow/__init__.py reads these lines too.
