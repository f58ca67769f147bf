"""What is handed to people about a migration: one account, as JSON and as a page."""
