"""The whole stack on one machine, and a fake Customer.io: for people and tests, never shipped."""
