"""A fake Customer.io: its Track API on loopback, in a process of its own.

Read in this order: people.py holds what is known of each person, track.py reads a request and
words its answer, faults.py makes it misbehave on demand, journal.py remembers what happened.
Those are pure. server.py puts them on HTTP, page.html shows them to a person, and process.py
starts the server from Python and talks to it.
"""
