# The public names of lazyflow, one a line: from MODULE import NAME as NAME. __init__.py reads them too.
