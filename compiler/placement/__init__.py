"""Where values live: layouts of views, lifetimes, and the arena that holds all buffers."""
