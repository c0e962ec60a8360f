"""Peers: handlers that people would write instead, with the same events and the same results."""
