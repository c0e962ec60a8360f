"""Ops: the command `ops`, for the engineer on call.

    cli            all commands under one name, and the exit status
    commands       the groups of commands, and what they share
    show  show_explanation
                   tables, texts and progress bars for a terminal
    explanation    why a person is, or is not, in an audience
    smoke  smoke_person  send
                   a made-up person's way through the stack
    status  checks  people  credentials_secret  mapping  dead_letter_queue  queues
                   what the commands do, each on its own
    audiences  exports  scan  whole_file
                   what the whole table holds: members of audiences, and a file of memberships
    prices         what AWS charges
    track_api      what the tool itself asks of Customer.io
    dead_letters  mentions
                   what a dead letter says, which are chosen, and whether one names a person
    memberships    what mParticle said last of a person's audiences
    masking        hides personal data
    logs  delivery_log
                   reads the functions' logs
    stack          finds the deployed stack, and creates the AWS clients

`handler` reads messages, people and settings, so the tool and the function cannot disagree. The
function knows nothing of this package.
"""
