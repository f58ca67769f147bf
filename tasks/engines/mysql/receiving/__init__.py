"""Rows that MariaDB takes from elsewhere: made room for, written once, compared, put in their place, and back."""
