"""From bodies of kernels to the text of native functions."""
