"""Commands: the command line, a module for each group of commands.

    stack  smoke  dlq  person  audiences  exports  imports  reconcile  credentials
                   arguments, questions, output and exit status of each command
    change_input   the file of changes that imports and reconcile read
    options        the options that commands share, and the files that they read
    scanning       what commands say while they read the whole table
    context        the stack that a command works on, its output, and its questions

The work is done by the other modules of `ops`, and `show` formats its results.
"""
