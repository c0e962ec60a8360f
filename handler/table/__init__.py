"""Table: the one owner of the DynamoDB table, its keys, its items and how they are read."""
