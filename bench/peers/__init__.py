"""What people would write instead, each a handler of the same events with the same outcome."""
