"""What has to hold: before anything begins, at the gates, before a rollback."""
