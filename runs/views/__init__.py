"""The pages of conversations and runs: each loads what its reader may see."""
