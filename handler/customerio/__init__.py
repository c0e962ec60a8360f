"""Everything between us and Customer.io's Track API."""
