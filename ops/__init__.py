"""Ops: the command `ops`, for whoever is on call.

    cli            all commands under one name, and what `run` ends with
    commands       each group of them, and the one place that asks and tells
    show           tables and progress for people
    status  checks  dead_letters  people  secret  mapping
                   what the commands do, each on its own
    stack          finds the deployed stack, and talks to AWS
    masking        personal data made unreadable

What is thought of messages and people comes from `handler`, so the tool and the function cannot
disagree. The function knows nothing of this.
"""
