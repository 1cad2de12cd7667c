"""Processes killed at every write, and what must be true afterwards.

agents      an app of agents that do what their messages say
plans       those messages
journal     what really happened, told outside the database
kills       where a process is to die, and its end just there
family      forks of one process that has everything imported
web         what people and systems do: start, say, decide, stop, deliver
scenarios   short stories that together reach every write
sweep       each story again and again, killed at each of its writes
storm       many runs and workers; kills, pauses and lost connections by chance
invariants  what must be true of the database and the journal at rest
report      what was done and found

`python -m tests.chaos --help` runs it.
"""
