"""Commands: what the operator can say, a module for each group.

    stack  dlq  person  credentials
                   what each command takes, asks, tells and ends with
    options        the options that commands share
    context        what a command works with: the stack, and how to tell

What they do is in the other modules of `ops`, and what it looks like in `show`.
"""
