"""The cpu backend: kernels as machine code through llvmlite, matrix products through BLAS."""
