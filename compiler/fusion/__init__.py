"""Which ops become one kernel: groups, how they grow, and the kernel ops that they become."""
