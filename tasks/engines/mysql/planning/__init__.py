"""From a spec to a plan, on MariaDB."""
