"""AWS: botocore's clients, sending over connections of this project's own."""
