"""The run loop: one step after another, each stored before the next builds on it."""
