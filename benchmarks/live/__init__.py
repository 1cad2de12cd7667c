"""A server with a run to watch, and many browsers that watch it.

Both are as in production but for one thing: the server also takes orders, to write
events and to say when each was committed.
"""
