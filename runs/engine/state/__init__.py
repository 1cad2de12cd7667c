"""What a run is between two of its steps, and how that is stored and read again."""
