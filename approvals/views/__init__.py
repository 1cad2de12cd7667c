"""The pages of the desk: each loads what its reader may see, and calls one service."""
