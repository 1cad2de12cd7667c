"""The same scenarios played through the SDK and through our engine, and compared."""
