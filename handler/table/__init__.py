"""Table: the only package that knows the keys and items of the DynamoDB table."""
