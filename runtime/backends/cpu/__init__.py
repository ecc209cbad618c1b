"""The cpu backend: kernels as machine code through llvmlite, matrix products through BLAS.

``code`` writes native functions as text, ``lowering`` makes of a program the tasks that call them, and
``running`` compiles them and lets threads walk the tasks. Each uses those before it; ``cpu`` uses all.
"""
