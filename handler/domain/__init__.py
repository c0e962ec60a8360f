"""What the forwarder decides, as pure values: no AWS, no HTTP, no clock, no chance."""
