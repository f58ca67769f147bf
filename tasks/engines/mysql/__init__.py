"""MariaDB, and MySQL where `dialect` says so. Tested on MariaDB 10.11."""
