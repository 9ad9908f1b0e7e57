"""What is bought: the price, the record, the one purchase."""
