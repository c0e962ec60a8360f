"""Bench: measurements of the function, and of handlers that people would write instead.

__main__       `make bench`: the command line
counts  speed  scale  starts
               the measurements, by what they measure
session        what the measurements share
report         medians, and the table
measure        servers, the built function, and processes to measure
events  known  generated events, and people who are stored before
invoked        the process that runs one handler
server         a cheap stand-in for Customer.io and AWS
peers          the other handlers
compare        another command: two builds of the function
"""
