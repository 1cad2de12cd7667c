"""What Placet promises to reviewers and operators, one check a promise.

Each looks at a whole installation from outside: over sockets and in Chromium, at the
rows of its database, and at a file to which the tools write what they have done.
"""
