"""A fake Customer.io: its Track API on loopback, in a process of its own.

    people         the people, and how an update changes them
    removals       who was deleted or suppressed
    search         finds people by identifier or audience
    track          reads requests, checks limits, and writes answers
    faults         the faults that a test plans
    journal        the latest requests
    state          people, journal and faults together, and the accounts
    server         the Track API on HTTP
    control        the endpoint for tests, and page.html for people
    process        starts the server from Python, and talks to it

All but the last three know nothing of HTTP.
"""
